"""What is known of the budget: the last evaluation is no design, a small budget is announced."""

import numpy as np
import pytest

from lookahead_sk import TwoStepConstrainedBO

BOX = [(0.0, 1.0)] * 3


def test_the_last_evaluation_uses_the_model_inside_the_design_too():
    X = np.array([[0.2, 0.2, 0.2], [0.8, 0.5, 0.5]])
    optimizer, eic = (
        TwoStepConstrainedBO(BOX, random_state=0, **options)
        for options in ({}, {"n_initial": 1, "acquisition": "eic"})
    )
    for each in (optimizer, eic):
        each.tell(X, [1.0, 2.0])
    with pytest.warns(UserWarning, match="A budget of 3 evaluations is no larger"):
        last = optimizer.ask(remaining=1)
    np.testing.assert_array_equal(last, eic.ask())


@pytest.mark.parametrize("n_initial", [None, 7])
def test_a_budget_within_the_design_says_so(n_initial):
    size = n_initial or 5
    optimizer = TwoStepConstrainedBO(BOX, random_state=0, n_initial=n_initial)
    with pytest.warns(UserWarning, match=f"initial design of {size}: .* Set n_initial"):
        optimizer.ask(remaining=size)
    TwoStepConstrainedBO(BOX, random_state=0, n_initial=n_initial).ask(remaining=size + 1)


def test_without_a_success_the_last_evaluation_is_of_the_design():
    optimizer = TwoStepConstrainedBO(BOX, random_state=0, n_initial=1)
    optimizer.tell([[0.5, 0.5, 0.5]], [np.nan])
    assert optimizer.ask(remaining=1).shape == (1, 3)
