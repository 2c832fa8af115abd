"""What a fresh eye stumbled over: tuples as choices, rounded points, ranges that were choices."""

import numpy as np
import pytest

from lookahead_sk import TwoStepConstrainedBO

CHOICES = {"layers": [(50,), (100, 50), None], "x": (0.0, 1.0)}


def evaluate(points):
    return [[len(p["layers"] or ()) + (p["x"] - 0.3) ** 2] for p in points]


def test_tuples_survive_saving_as_tuples(tmp_path):
    optimizer = TwoStepConstrainedBO(CHOICES, n_initial=4, max_iter=2, random_state=0)
    for _ in range(5):
        points = optimizer.ask()
        optimizer.tell(points, evaluate(points))
    optimizer.save(tmp_path / "study.json")
    loaded = TwoStepConstrainedBO.load(tmp_path / "study.json")
    assert loaded.bounds["layers"] == CHOICES["layers"]
    assert loaded.X_ == optimizer.X_
    assert loaded.ask() == optimizer.ask()
    loaded.tell([{"layers": (50,), "x": 0.5}], [[1.0]])


def test_a_choice_that_json_cannot_hold_is_named_and_nothing_is_written(tmp_path):
    optimizer = TwoStepConstrainedBO({"f": [np.mean, np.median]}, random_state=0)
    with pytest.raises(ValueError, match="bounds must be choices made of numbers, strings"):
        optimizer.save(tmp_path / "study.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("spec", [(False, True), ("0", "1"), ("l1", "l2"), (None, 1.0)])
def test_a_pair_of_choices_is_no_range(spec):
    with pytest.raises(ValueError, match=r"two numbers, low and high.*given as a list"):
        TwoStepConstrainedBO({"p": spec}).ask()


def test_a_rounded_point_is_the_one_that_was_asked_for():
    optimizer = TwoStepConstrainedBO([(0, 1), (0, 5)], random_state=0)
    X = optimizer.ask(3)
    optimizer.tell(X[:2].round(3), [1.0, 2.0])
    np.testing.assert_allclose(optimizer.pending_, X[2:])
    optimizer.tell([[0.123, 4.0]], [3.0])  # not asked for
    np.testing.assert_allclose(optimizer.pending_, X[2:])
