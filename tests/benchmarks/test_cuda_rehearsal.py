"""The run that is prepared for a GPU, rehearsed on a CPU in tiny sizes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "cuda.py"
LOSSES = ("on", "off")


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    """Folder that a rehearsal of everything has written."""
    out = tmp_path_factory.mktemp("cuda")
    command = [sys.executable, str(SCRIPT), "--rehearse", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def records(rehearsed):
    """Records of the steps, by their labels."""
    lines = (rehearsed / "cuda.jsonl").read_text().splitlines()
    return {record["label"]: record for record in map(json.loads, lines)}


def test_no_step_fails_or_is_left_out(records):
    odd = {k: r for k, r in records.items() if "error" in r or "skipped" in r}
    assert odd == {}
    parts = dict.fromkeys(record["part"] for record in records.values())
    assert list(parts) == [
        "first", "embedding", "ask", "training", "profile", "hidden", "folds",
    ]  # fmt: skip


def test_the_marked_tests_are_found_and_skipped_without_a_gpu(records):
    assert "skipped" in records["tests marked cuda"]["summary"]


@pytest.mark.parametrize("approach", ["causal", "masked"])
@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_arm_is_timed_and_scored(records, approach, fold, loss):
    record = records[f"fold {fold}, {approach}, response loss {loss}"]
    assert (record["response_weight"] == 0) == (loss == "off")
    assert record["seconds_per_step"] > 0
    for name in ("router", "network"):
        assert 0 <= record[name]["score"] <= record["oracle_score"]
    if fold == 0:
        assert record["agreement"]["largest_difference"] < 2e-2


def test_a_step_is_taken_apart(records):
    for approach in ("causal", "masked"):
        record = records[f"{approach}: training step"]
        assert 0 <= record["pieces"]["padding"] < 1
        assert record["pieces"]["labelled_tokens"] > 0
        assert len(record["operations"]["top"]) > 0


def test_files_hold_a_row_for_every_prompt(rehearsed, records):
    n = records["environment"]["prompts"]
    for name in records["hidden states"]["files"]:
        with np.load(rehearsed / f"hidden_{name}.npz") as stored:
            assert len(stored["states"]) == n
            assert np.isfinite(stored["states"]).all()
    names = [f"{a}_{loss}_{f}.npz" for a in ("causal", "masked") for f in (0, 1) for loss in LOSSES]
    for name in names:
        with np.load(rehearsed / "states" / name) as stored:
            assert len(stored["quality"]) == n
            assert ("latents" in stored) == name.endswith("_0.npz")
            assert sorted([*stored["train"], *stored["test"]]) == list(range(n))
