"""Real processes share a study; kill -9 loses no completed trial, whoever is killed."""

import os
import signal
import subprocess
import sys
import time

import pytest

optuna = pytest.importorskip("optuna")

from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

optuna.logging.set_verbosity(optuna.logging.ERROR)

WORKER = """
import sys
import optuna
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from lookahead_sk.integrations.optuna import TwoStepConstrainedSampler

url, n = sys.argv[1], int(sys.argv[2])
storage = RDBStorage(url) if "://" in url else JournalStorage(JournalFileBackend(url))
study = optuna.load_study(
    study_name="s", storage=storage, sampler=TwoStepConstrainedSampler(acquisition="eic")
)

def objective(trial):
    x, y = trial.suggest_float("x", 0, 6), trial.suggest_float("y", 0, 6)
    trial.set_constraint("product", 1 - x * y)
    return x + y

study.optimize(objective, n_trials=n)
"""


def open_study(url):
    storage = RDBStorage(url) if "://" in url else JournalStorage(JournalFileBackend(url))
    return optuna.create_study(study_name="s", storage=storage, load_if_exists=True)


def completed(study):
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return {t.number: (t.value, t.params, t.constraints) for t in trials}


def start(url, n):
    command = [sys.executable, "-c", WORKER, url, str(n)]
    return subprocess.Popen(command, start_new_session=True)


def wait_for(condition, seconds=200):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the workers do not get on"
        time.sleep(0.05)


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_killing_workers_loses_no_completed_trial(tmp_path, kind):
    if kind == "journal":
        url = str(tmp_path / "study.journal")
    else:
        url = f"sqlite:///{tmp_path}/study.db"
    study = open_study(url)
    workers = [start(url, 1000), start(url, 1000)]
    try:
        wait_for(lambda: len(completed(study)) >= 6)
        os.kill(workers[0].pid, signal.SIGKILL)
        workers[0].wait()
        seen = completed(study)
        wait_for(lambda: len(completed(study)) >= len(seen) + 2)  # the other one goes on
        os.kill(workers[1].pid, signal.SIGKILL)  # now nobody is left
        workers[1].wait()
    finally:
        for worker in workers:
            worker.kill()
    before = completed(open_study(url))
    assert seen.items() <= before.items()
    assert start(url, 3).wait(timeout=200) == 0  # resumed by a process that knows only the storage
    after = completed(open_study(url))
    assert before.items() <= after.items()
    assert len(after) == len(before) + 3
    points = [tuple(params.values()) for _, params, _ in after.values()]
    assert len(set(points)) == len(points)
