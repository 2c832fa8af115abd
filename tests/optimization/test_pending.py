"""Points that someone else evaluates, and points whose evaluation was given up."""

import numpy as np
import pytest

from lookahead_sk import TwoStepConstrainedBO

DATA = np.array([[0.1, 0.2], [0.4, 0.9], [0.6, 0.1], [0.9, 0.8], [0.5, 0.5], [0.2, 0.7]])


def optimizer():
    opt = TwoStepConstrainedBO([(0, 1), (0, 1)], acquisition="eic", random_state=0)
    return opt.tell(DATA, ((DATA - 0.3) ** 2).sum(axis=1))


def test_points_of_others_are_kept_away_from_until_told():
    alone = optimizer().ask()
    opt = optimizer().add_pending(alone)
    np.testing.assert_array_equal(opt.pending_, alone)
    assert np.abs(opt.ask() - alone).max() > 1e-3
    opt.tell(alone, [0.0])
    assert len(opt.pending_) == 1  # its own


def test_forgotten_points_are_asked_for_again():
    first = optimizer().ask()
    opt = optimizer().add_pending(first).forget_pending()
    assert len(opt.pending_) == 0
    np.testing.assert_array_equal(opt.ask(), first)


def test_points_can_be_awaited_before_anything_is_known():
    opt = TwoStepConstrainedBO({"k": ["a", "b"]}, random_state=0).forget_pending()
    assert opt.add_pending([{"k": "b"}]).pending_ == [{"k": "b"}]


def test_a_point_outside_changes_nothing():
    opt = optimizer()
    with pytest.raises(ValueError, match="inside"):
        opt.add_pending([[0.5, 2.0]])
    assert len(opt.pending_) == 0


def test_the_design_of_a_finite_space_repeats_nothing_before_it_must():
    space = {"a": [1, 2, 3], "b": ["x", "y"]}
    opt = TwoStepConstrainedBO(space, random_state=0, n_initial=6)
    asked = [repr(opt.ask()[0]) for _ in range(6)]
    assert len(set(asked)) == 6
    with pytest.warns(UserWarning, match="Every point of the search space"):
        assert repr(opt.ask()[0]) in asked  # now it must
    assert len({repr(p) for p in TwoStepConstrainedBO(space, random_state=1).ask(6)}) == 6
