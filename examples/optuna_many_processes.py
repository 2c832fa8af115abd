"""
Share one study between processes
=================================

Two processes share one Optuna study. One of them is killed, and no finished trial is lost.

The study is a file (``JournalStorage``). With the URL of a database it would reach many machines.
Every worker plans with all finished trials, and keeps away from the points that others evaluate
at the moment. Run the example twice with the same file to see a study resumed:
``python optuna_many_processes.py FILE``.

.. image:: /images/optuna_many_processes.png
   :alt: The trials of two workers over time, one of them killed
   :width: 700

The picture comes from ``python optuna_many_processes.py study.journal picture.png``. Optuna is
installed by the extra ``optuna``.
"""

# sphinx_gallery_thumbnail_path = 'images/optuna_many_processes.png'

import signal
import subprocess
import sys
import tempfile
import time
from datetime import datetime
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


def main(path: Path) -> optuna.Study:
    """Run two workers, kill one in the middle, replace it, and show what the study holds."""
    study = open_study(path)
    goal = len(completed(study)) + N_TRIALS
    print(f"The study has {len(completed(study))} completed trials; going for {goal}.", flush=True)
    workers = [start_worker(path, goal) for _ in range(2)]
    while len(completed(study)) < goal - N_TRIALS // 2:
        time.sleep(0.2)
    workers[0].send_signal(signal.SIGKILL)
    workers[0].wait()
    study.set_user_attr("killed", datetime.now().isoformat())
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
    return study


def draw(study: optuna.Study, path: str) -> None:
    """Save a picture: when each trial ran, and what it found."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    trials = study.get_trials()
    start = min(trial.datetime_start for trial in trials)
    killed = datetime.fromisoformat(study.user_attrs["killed"])
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for trial in trials:
        is_lost = trial.state == TrialState.FAIL
        times = (trial.datetime_start, killed if is_lost else trial.datetime_complete)
        begin, end = ((moment - start).total_seconds() for moment in times)
        if is_lost:
            left.barh(trial.number, end - begin, left=begin, color="C3")
            continue
        inside = trial.constraints["vectors"] <= 0
        left.barh(trial.number, end - begin, left=begin, color="C0" if inside else "0.7")
        vectors = trial.constraints["vectors"] + MOST_VECTORS
        right.scatter(vectors, trial.value, color="C0" if inside else "0.7", zorder=3)
    left.set(xlabel="seconds", ylabel="trial", ylim=(len(trials) - 0.4, -0.6))
    meanings = {"C0": "inside the limit", "0.7": "over the limit", "C3": "worker killed"}
    patches = [Patch(color=color, label=label) for color, label in meanings.items()]
    left.legend(handles=patches, frameon=False, loc="lower left")
    best = study.best_trial
    right.plot(best.constraints["vectors"] + MOST_VECTORS, best.value, "*", color="C1", ms=16)
    right.axvspan(MOST_VECTORS, right.get_xlim()[1], color="0.92", zorder=0)
    right.set(xlabel=f"support vectors (limit: {MOST_VECTORS})", ylabel="accuracy, 5 folds")
    right.set_xscale("log")
    ticks = [30, 60, 100, 200, 400]
    right.set_xticks(ticks, [str(tick) for tick in ticks])
    right.set_xticks([], minor=True)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if "--work" in sys.argv:
        work(Path(sys.argv[2]), int(sys.argv[3]))
    elif len(sys.argv) > 1:
        shared = main(Path(sys.argv[1]))
        if len(sys.argv) > 2:
            draw(shared, sys.argv[2])
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder) / "study.journal")
