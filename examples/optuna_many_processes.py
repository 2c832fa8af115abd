"""
Share one study between processes
=================================

Several processes share one Optuna study; one is killed, and nothing that was finished is lost.

The study is a file (`JournalStorage`); a database URL would serve as well and reach many machines.
Every worker plans with what all others have found, and keeps away from what they run at the moment.
Run it twice with the same file to see a study resumed: ``python optuna_many_processes.py FILE``.
"""

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from lookahead_sk.integrations.optuna import TwoStepConstrainedSampler

N_TRIALS = 16
MOST_VECTORS = 60
X, y = load_breast_cancer(return_X_y=True)


def objective(trial: optuna.Trial) -> float:
    """Accuracy of a support vector machine that may keep 60 support vectors."""
    C = trial.suggest_float("C", 1e-2, 1e4, log=True)
    gamma = trial.suggest_float("gamma", 1e-5, 1.0, log=True)
    model = make_pipeline(StandardScaler(), SVC(C=C, gamma=gamma))
    scores = cross_validate(model, X, y, cv=5, return_estimator=True)
    vectors = sum(fitted[-1].n_support_.sum() for fitted in scores["estimator"]) / 5
    trial.set_constraint("vectors", vectors - MOST_VECTORS)
    return scores["test_score"].mean()


def open_study(path: Path) -> optuna.Study:
    """Open the study in a file, or begin it."""
    return optuna.create_study(
        study_name="svm",
        direction="maximize",
        storage=JournalStorage(JournalFileBackend(str(path))),
        sampler=TwoStepConstrainedSampler(learns_from_failures=False),  # processes die here
        load_if_exists=True,
    )


def completed(study: optuna.Study) -> dict[int, float]:
    """Values of the completed trials by number."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return {trial.number: trial.value for trial in trials}


def work(path: Path, n_trials: int) -> None:
    """One worker: run trials until the study has enough of them."""
    study = open_study(path)
    while len(completed(study)) < n_trials:
        study.optimize(objective, n_trials=1)


def start_worker(path: Path, n_trials: int) -> subprocess.Popen:
    """Start a worker in a process of its own; it could be on another machine."""
    return subprocess.Popen([sys.executable, __file__, "--work", str(path), str(n_trials)])


def main(path: Path) -> None:
    """Run two workers, kill one in the middle, replace it, and show what the study holds."""
    study = open_study(path)
    goal = len(completed(study)) + N_TRIALS
    print(f"The study has {len(completed(study))} completed trials; going for {goal}.", flush=True)
    workers = [start_worker(path, goal) for _ in range(2)]
    while len(completed(study)) < goal - N_TRIALS // 2:
        time.sleep(0.2)
    workers[0].send_signal(signal.SIGKILL)
    workers[0].wait()
    before = completed(study)
    print(f"A worker was killed after {len(before)} completed trials.", flush=True)
    workers[0] = start_worker(path, goal)
    for worker in workers:
        worker.wait()
    after = completed(study)
    lost = [number for number in before if after.get(number) != before[number]]
    print(f"The study has {len(after)} completed trials now; lost: {len(lost)}.")
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        print(f"Trial {trial.number} was running in the killed worker: it is told to have failed.")
    best = study.best_trial  # the best one that meets the constraints
    vectors = best.constraints["vectors"] + MOST_VECTORS
    print(f"Best: accuracy {best.value:.4f}, {vectors:.0f} support vectors, {best.params}")


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if "--work" in sys.argv:
        work(Path(sys.argv[2]), int(sys.argv[3]))
    elif len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder) / "study.journal")
