"""The state of a run never changes: every method returns another one."""

from dataclasses import fields

import numpy as np
import pytest
from scipy.stats import randint

from lookahead_sk import TwoStepConstrainedBO
from lookahead_sk.optimization._run_state import RunState
from lookahead_sk.optimization._space import make_space

BOX = [(0.0, 2.0), (0.0, 4.0)]
NAMED = {"n": randint(0, 4), "k": ["a", ("b", None)]}
X = np.array([[1.0, 1.0], [2.0, 3.0]])
Y = np.array([[5.0, 1.0], [7.0, -1.0]])


def told():
    space = make_space(BOX)
    state = RunState.empty(space, 1, seed=3).with_pending(space.encode([[1.0, 1.002], [0.5, 0.5]]))
    return state.with_told(X, space.encode(X), Y)


def contents(state):
    return {f.name: np.array(getattr(state, f.name), dtype=object).tolist() for f in fields(state)}


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.with_told([[0.0, 0.0]], np.zeros((1, 2)), np.zeros((1, 2))),
        lambda state: state.with_pending(np.ones((1, 2))),
        lambda state: state.with_asked(np.ones((1, 2))),
        lambda state: state.without_pending(),
    ],
)
def test_a_change_leaves_the_old_state_as_it_was(change):
    state = told()
    before = contents(state)
    after = change(state)
    assert contents(state) == before
    assert contents(after) != before
    with pytest.raises(AttributeError):
        after.pending = before


def test_a_told_point_is_no_longer_pending_even_if_it_was_rounded():
    np.testing.assert_allclose(told().pending, [[0.25, 0.125]])


def test_only_feasible_points_can_be_the_best():
    state = told()
    assert state.is_feasible.tolist() == [False, True]
    assert state.best_index == 1
    worse = state.with_told([[0.0, 0.0]], np.zeros((1, 2)), np.array([[1.0, np.nan]]))
    assert worse.best_index == 1
    assert RunState.empty(make_space(BOX), 1, 0).best_index is None


def test_an_ask_counts_and_its_points_are_pending():
    state = told().with_asked(np.full((1, 2), 0.5))
    assert state.n_asked == 1
    np.testing.assert_array_equal(state.pending[-1], [0.5, 0.5])
    assert len(state.without_pending().pending) == 0


@pytest.mark.parametrize("bounds", [BOX, NAMED])
def test_a_state_survives_json(bounds):
    optimizer = TwoStepConstrainedBO(bounds, 1, acquisition="eic", random_state=0, n_initial=2)
    points = optimizer.ask(3)
    optimizer.tell(points[:2], [[1.0, -1.0], [2.0, 0.5]])
    optimizer.ask()
    state = optimizer._state
    content = state.to_json(with_box=False)
    restored = RunState.from_json(content, make_space(bounds), 1, None)
    assert restored.to_json(with_box=False) == content
    assert restored.told is not state.told
    assert restored.to_json(with_box=True)["box"] == ([[0, 2], [0, 4]] if bounds is BOX else [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed must be"),
        ({"n_asked": 1.5}, "n_asked must be"),
        ({"n_designed": 2**21}, "n_designed must be"),
        ({"plan_pending": 1}, "plan_pending must be"),
        ({"pending": [[2.0, 0.0]]}, "pending must be inside"),
        ({"starts": [1]}, "subscriptable"),
        ({"X": [[np.inf, 0.0], [1.0, 1.0]]}, "finite"),
        ({"X": [[1.0, 0.0]]}, "y must be an array of shape"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(change, message):
    content = {**told().to_json(with_box=False), **change}
    with pytest.raises((TypeError, ValueError), match=message):
        RunState.from_json(content, make_space(BOX), 1, None)


def test_a_call_that_fails_leaves_no_state_behind():
    optimizer = TwoStepConstrainedBO(BOX, random_state="no seed")
    for call in (
        optimizer.ask,
        lambda: optimizer.tell(X, Y[:, 0]),
        lambda: optimizer.fit(X, Y[:, 0]),
    ):
        with pytest.raises(ValueError, match="seed"):
            call()
        assert not hasattr(optimizer, "space_")
        assert len(optimizer.y_) == 0
