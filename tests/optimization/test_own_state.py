"""The history is the optimiser's own; parameters read once are honoured or refused."""

import copy
import pickle

import numpy as np
import pytest
from scipy.stats import loguniform, randint, rv_continuous, rv_discrete, uniform
from sklearn.gaussian_process import kernels as sk

from lookahead_sk import TwoStepConstrainedBO
from lookahead_sk.optimization._space import make_space

NAMED = {"k": ["a", ("b", 1), [1, 2]], "n": randint(0, 9)}
POINTS = [{"k": "a", "n": 1}, {"k": [1, 2], "n": 2}, {"k": ("b", 1), "n": 8}]


def named():
    optimizer = TwoStepConstrainedBO(NAMED, 1, random_state=0, acquisition="eic")
    return optimizer.tell(POINTS, [[2.0, -1.0], [1.0, -1.0], [3.0, -1.0]])


def boxed():
    optimizer = TwoStepConstrainedBO([(0, 1), (0, 1)], 1, random_state=0, acquisition="eic")
    return optimizer.tell([[0.5, 0.5], [0.1, 0.2]], [[2.0, -1.0], [1.0, -1.0]])


@pytest.mark.parametrize(
    "change",
    [
        lambda o: o.best_x_.pop("n"),
        lambda o: o.best_x_["k"].append(3),
        lambda o: o.X_.clear(),
        lambda o: o.X_[0].update(n=5),
        lambda o: o.y_.fill(-7.0),
        lambda o: o.ask()[0].clear(),
        lambda o: o.pending_.append({}),
    ],
)
def test_a_named_history_is_not_handed_out(change):
    optimizer = named()
    change(optimizer)
    assert optimizer.X_ == POINTS
    assert optimizer.y_.tolist() == [[2.0, -1.0], [1.0, -1.0], [3.0, -1.0]]
    assert optimizer.best_x_ == POINTS[1]
    assert all(set(p) == {"k", "n"} for p in optimizer.pending_)


def test_a_history_in_a_box_is_not_handed_out():
    optimizer = boxed()
    with pytest.raises(AttributeError):
        optimizer.y_ *= -1
    for array in (optimizer.X_, optimizer.best_x_, optimizer.is_feasible_, optimizer.ask()):
        array[...] = 0
    assert optimizer.y_.tolist() == [[2.0, -1.0], [1.0, -1.0]]
    assert optimizer.best_x_.tolist() == [0.1, 0.2]
    assert np.abs(optimizer.pending_).max() > 0


def test_what_was_told_stays_the_callers():
    space, points = {"k": [[1, 2], [3]]}, [{"k": [1, 2]}]
    optimizer = TwoStepConstrainedBO(space, random_state=0).tell(points, [1.0])
    points[0]["k"].append(9)
    assert optimizer.best_x_ == {"k": [1, 2]}
    space["k"][0].append(9)
    with pytest.raises(ValueError, match="bounds must leave the data a place"):
        optimizer.ask()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"bounds": [(0, 2)]}, "bounds must be of the same variables as at the first ask"),
        ({"bounds": {"a": (0, 1), "b": (0, 1)}}, "bounds must be of the same variables"),
        ({"n_constraints": 0}, "n_constraints must be 1, as at the first ask"),
        ({"random_state": 1}, "random_state must be 0, as at the first ask"),
        ({"random_state": None}, "random_state must be 0, as at the first ask"),
    ],
)
def test_a_parameter_that_is_read_once_is_refused_later(parameters, message):
    for call in (
        lambda o: o.ask(),
        lambda o: o.tell([[0.3, 0.3]], [[1.0, 1.0]]),
        lambda o: o.add_pending([[0.3, 0.3]]),
    ):
        optimizer = boxed().set_params(**parameters)
        with pytest.raises(ValueError, match=message):
            call(optimizer)
        assert len(optimizer.y_) == 2
        optimizer.set_params(bounds=[(0, 1), (0, 1)], n_constraints=1, random_state=0).ask()


@pytest.mark.parametrize(
    ("entry", "other"),
    [
        (randint(0, 9), randint(0, 8)),
        (loguniform(1, 2), loguniform(1, 3)),
        (["a", "b", "c", "d"], ["b", "a", "c", "d"]),
        ([1, 2, 3, 4], ["1", "2", "3", "4"]),
    ],
)
def test_spaces_are_compared_by_what_they_mean(entry, other):
    optimizer = TwoStepConstrainedBO({"v": entry}, random_state=0)
    optimizer.ask()
    copied = pickle.loads(pickle.dumps(optimizer))
    copied.set_params(bounds={"v": copy.deepcopy(entry)}).ask(2)
    assert copied.space_.key == optimizer.space_.key
    assert make_space({"v": other}).key != optimizer.space_.key


def test_fit_honours_all_parameters_that_changed():
    optimizer = boxed().set_params(bounds=[(0, 2), (0, 2)], random_state=5, n_constraints=0)
    optimizer.fit([[1.5, 1.5], [0.0, 0.0]], [1.0, 2.0])
    assert optimizer.ask().max() <= 2


@pytest.mark.parametrize(
    "parameters",
    [{"kernel": sk.RBF(0.05, "fixed")}, {"output_transform": "copula"}],
)
def test_parameters_of_the_fit_are_honoured_after_it(parameters):
    X = np.random.default_rng(0).random((12, 2))
    y = np.stack([np.exp(5 * X[:, 0]), X[:, 1] - 0.5], axis=1)
    changed = TwoStepConstrainedBO([(0, 1), (0, 1)], 1, random_state=0).fit(X, y)
    changed.set_params(**parameters)
    direct = TwoStepConstrainedBO([(0, 1), (0, 1)], 1, random_state=0, **parameters).fit(X, y)
    at = X + 0.01
    np.testing.assert_allclose(changed.predict(at), direct.predict(at), rtol=1e-4, atol=1e-4)


class Triangle(rv_continuous):
    def _pdf(self, x):
        return 2 * x


@pytest.mark.parametrize(
    "parameters",
    [
        {"bounds": {"v": Triangle(a=0, b=1, name="triangle")()}},
        {"bounds": {"v": Triangle(a=0, b=1, name="uniform")()}},
        {"bounds": {"v": [object(), 1]}},
        {"bounds": {"v": [1 + 2j, 1]}},
        {"bounds": {"v": (0, 1)}, "verbose": object()},
        {"bounds": {"v": (0, 1)}, "kernel": sk.ExpSineSquared()},
    ],
)
def test_what_load_would_refuse_is_not_saved(parameters, tmp_path):
    optimizer = TwoStepConstrainedBO(random_state=0, **parameters)
    path = tmp_path / "run.json"
    with pytest.raises((ValueError, TypeError)):
        optimizer.save(path)
    assert not path.exists()


@pytest.mark.parametrize(
    "bounds",
    [
        NAMED,
        {"v": rv_discrete(values=([16, 32, 64, 128], [0.25] * 4))},
        {"v": [np.str_("a"), np.bool_(True), np.array([1.0, 2.0]), {"a": (1, [2])}, None, 2.5]},
        {"v": randint(0, 5, loc=0.5)},
        {"v": loguniform(1, 100), "w": uniform(loc=1, scale=2)},
    ],
)
def test_what_is_saved_is_loaded_and_goes_on(bounds, tmp_path):
    optimizer = TwoStepConstrainedBO(bounds, random_state=0, acquisition="eic", n_initial=2)
    X = optimizer.ask(2)
    optimizer.tell(X, [1.0, 2.0])
    optimizer.save(tmp_path / "run.json")
    loaded = TwoStepConstrainedBO.load(tmp_path / "run.json")
    assert repr(loaded.X_) == repr(optimizer.X_)
    assert repr(loaded.ask()) == repr(optimizer.ask())


def test_a_state_whose_parameters_changed_is_not_saved(tmp_path):
    optimizer = boxed().set_params(n_constraints=0)
    with pytest.raises(ValueError, match="n_constraints must be 1, as at the first ask"):
        optimizer.save(tmp_path / "run.json")
    assert not (tmp_path / "run.json").exists()
