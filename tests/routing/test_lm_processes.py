"""Two processes train the same network as one, and go on where they were killed.

The backbones have no dropout: every process draws it for its own prompts.
"""

import time

import numpy as np
import pytest
from _two_processes import CASES, OPTIONS, RANKS, fit, kill, start
from numpy.testing import assert_allclose, assert_array_equal

from lookahead_sk.routing._language_model import _heads

LIMIT = 120.0  # seconds; it takes a tenth of it on an idle machine
KILLED = "masked-on"
N_STEPS = 7 * OPTIONS["max_epochs"]


def trained(out, *cases, is_slow=False):
    """What two processes find, by case and rank."""
    processes = start(out, *cases, is_slow=is_slow)
    for process in processes:
        process.join(LIMIT)
    codes = [process.exitcode for process in processes]
    kill(processes)
    assert codes == [0, 0]
    return {path.stem: dict(np.load(path)) for path in out.glob("*.npz")}


def steps(out, rank):
    """Numbers of the steps that a process has begun."""
    file = out / f"steps-{rank}"
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("two"), *CASES)


@pytest.mark.parametrize("case", list(CASES))
def test_two_processes_train_the_same_network_as_one(by_two, case, monkeypatch):
    monkeypatch.setattr(_heads, "DROPOUT", 0.0)
    alone = fit(case)
    for rank in RANKS:
        assert_allclose(by_two[f"{case}-{rank}"]["losses"], alone["losses"], rtol=1e-5)
        assert_allclose(by_two[f"{case}-{rank}"]["quality"], alone["quality"], atol=1e-5)
    assert np.ptp(alone["losses"]) > 1e-3  # it did train
    assert np.ptp(alone["quality"]) > 1e-2


def test_two_processes_that_were_killed_go_on(by_two, tmp_path):
    processes = start(tmp_path, KILLED, is_slow=True)
    deadline = time.monotonic() + LIMIT
    try:
        while len(steps(tmp_path, 0)) < N_STEPS // 2:
            assert all(process.is_alive() for process in processes)
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        kill(processes)
    n_begun = [len(steps(tmp_path, rank)) for rank in RANKS]
    assert max(n_begun) < N_STEPS
    found = trained(tmp_path, KILLED, is_slow=True)
    for rank in RANKS:
        begun_anew = steps(tmp_path, rank)[n_begun[rank] :]
        assert 0 < begun_anew[0] <= n_begun[rank]  # it went on, and did not begin again
        assert begun_anew[-1] == N_STEPS - 1
        for key in ("losses", "quality"):
            assert_array_equal(found[f"{KILLED}-{rank}"][key], by_two[f"{KILLED}-{rank}"][key])
    assert not list((tmp_path / "kept").iterdir())
