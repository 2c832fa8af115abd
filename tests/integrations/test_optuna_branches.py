"""Conditional search spaces in Optuna's studies: what decides is learned, branches are modelled."""

import warnings

import numpy as np
import pytest

optuna = pytest.importorskip("optuna")

from optuna.distributions import FloatDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial

from lookahead_sk.integrations._optuna_branches import ConditionalDistributions, learn_branches
from lookahead_sk.integrations._optuna_space import is_inside, to_bounds, to_params, to_point
from lookahead_sk.integrations.optuna import TwoStepConstrainedSampler
from lookahead_sk.optimization._space import make_space

optuna.logging.set_verbosity(optuna.logging.ERROR)


def linear_or_forest(trial):
    """The best is depth 7 of the forest: 0, at the border of the constraint."""
    if trial.suggest_categorical("model", ["linear", "forest"]) == "linear":
        size, value = 1.0, 0.3 + (np.log10(trial.suggest_float("C", 1e-3, 1e3, log=True)) - 1) ** 2
    else:
        size = trial.suggest_int("depth", 1, 12)
        value = 0.2 * abs(size - 9) - 0.4 + trial.suggest_float("share", 0, 1) ** 2
    trial.set_constraint("size", size - 7)
    return value


def study_with(storage=None, **options):
    sampler = TwoStepConstrainedSampler(seed=0, acquisition="eic", **options)
    return optuna.create_study(
        study_name="s", storage=storage, sampler=sampler, load_if_exists=True
    )


def trials_of(function, n=24, seed=0):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    study.optimize(function, n_trials=n)
    return study.trials


def names_and_values(branches):
    return sorted((sorted(b.distributions), sorted(b.values.items())) for b in branches.branches)


def nested(trial):
    if trial.suggest_categorical("model", ["svm", "tree"]) == "svm":
        trial.suggest_float("C", 0, 1)
        if trial.suggest_categorical("kernel", ["rbf", "linear", "sigmoid"]) != "linear":
            trial.suggest_float("gamma", 0, 1)
    else:
        trial.suggest_int("depth", 1, 50)
    return 0.0


def layers(trial):
    for i in range(trial.suggest_int("n_layers", 1, 3)):
        trial.suggest_int(f"width{i}", 8, 256, log=True)
    return trial.suggest_float("rate", 0, 1)


def test_what_decides_is_learned_from_trials():
    assert names_and_values(learn_branches(trials_of(linear_or_forest))) == [
        (["C", "model"], [("model", (0.0,))]),
        (["depth", "model", "share"], [("model", (1.0,))]),
    ]
    assert names_and_values(learn_branches(trials_of(layers))) == [
        (["n_layers", "rate", "width0"], [("n_layers", (1.0,))]),
        (["n_layers", "rate", "width0", "width1"], [("n_layers", (2.0,))]),
        (["n_layers", "rate", "width0", "width1", "width2"], [("n_layers", (3.0,))]),
    ]
    found = learn_branches(trials_of(nested, 40))
    assert {frozenset(b.distributions) for b in found.branches} == {
        frozenset({"model", "kernel", "C"}),
        frozenset({"model", "kernel", "C", "gamma"}),
        frozenset({"model", "depth"}),
    }
    assert all(is_inside(t.params, found) for t in trials_of(nested, 20, seed=1))


def test_values_that_no_trial_has_had_are_a_branch_of_what_all_trials_share():
    distributions = {
        "kind": optuna.distributions.CategoricalDistribution(["a", "b", "c", "d"]),
        "x": FloatDistribution(0, 1),
        "y": FloatDistribution(0, 1),
    }

    def trial(**params):
        own = {name: distributions[name] for name in params}
        return create_trial(params=params, distributions=own, value=0.0)

    found = learn_branches([trial(kind="a", x=0.1), trial(kind="b", x=0.2, y=0.3)])
    assert names_and_values(found) == [
        (["kind", "x"], [("kind", (0.0,))]),
        (["kind", "x"], [("kind", (2.0, 3.0))]),
        (["kind", "x", "y"], [("kind", (1.0,))]),
    ]
    assert learn_branches([]) is None
    assert learn_branches([trial(kind="a", x=0.1), trial(kind="b", x=0.2)]) is None
    # The same value, other parameters: something else decides.
    assert learn_branches([trial(kind="a", x=0.1), trial(kind="a", x=0.2, y=0.3)]) is None


@pytest.mark.parametrize("function", [linear_or_forest, nested, layers])
def test_trials_are_points_of_the_optimisers_space_and_back(function):
    trials = trials_of(function)
    found = learn_branches(trials)
    space = make_space(to_bounds(found))
    for trial in trials:
        assert is_inside(trial.params, found)
        (point,) = space.decode(space.encode([to_point(trial.params, found)]))
        params = to_params(point, found)
        assert set(params) == set(trial.params)
        for name, value in trial.params.items():
            assert params[name] == (pytest.approx(value) if isinstance(value, float) else value)
    assert not is_inside({}, found)


def test_branches_are_searched_together_and_nothing_is_announced():
    study = study_with(n_startup_trials=6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study.optimize(linear_or_forest, n_trials=16)
    assert study.best_value < 0.05
    assert study.best_params["depth"] == 7
    assert study.best_trial.constraints["size"] <= 0
    space = study.sampler.infer_relative_search_space(study, study.trials[-1])
    assert isinstance(space, ConditionalDistributions)
    assert set(space) == {"model", "C", "depth", "share"}
    first = [t.params["model"] for t in study.trials[:6]]
    assert min(first.count("linear"), first.count("forest")) >= 2


def test_a_study_of_branches_goes_on_in_another_process_as_in_one(tmp_path):
    def run(name, *parts):
        path = f"sqlite:///{tmp_path}/{name}.db"
        for n in parts:
            study_with(RDBStorage(path)).optimize(linear_or_forest, n_trials=n)
        return [t.params for t in study_with(RDBStorage(path)).trials]

    # The first trial is random, by a sampler that Optuna does not restore: it is alike by its seed.
    assert run("one", 10) == run("two", 6, 4)


def test_a_trial_that_runs_in_a_branch_is_pending_and_formulas_see_its_own_parameters():
    seen = []

    def shallow(points):
        seen.extend(points)
        return [p.get("depth", 0) - 8 for p in points]

    study = study_with(known_constraints=shallow)
    study.enqueue_trial({"model": "linear", "C": 1.0})
    study.optimize(linear_or_forest, n_trials=10)
    waiting = [study.ask() for _ in range(3)]
    for trial in waiting:
        linear_or_forest(trial)
    points = [tuple(sorted(t.params.items())) for t in waiting]
    assert len(set(points)) == 3
    assert {frozenset(p) for p in seen} <= {
        frozenset({"model"}),
        frozenset({"model", "C"}),
        frozenset({"model", "depth", "share"}),
    }
    late = [t.params for t in study.trials[4:] if "depth" in t.params]
    assert all(params["depth"] <= 8 for params in late)
    assert all(t.state != TrialState.FAIL for t in study.trials)
