"""The cost weight that meets a budget, against a scan."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookahead_sk.routing._costs import mean_cost, read_costs, weight_for_budget


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 1), k=st.integers(2, 5))
def test_the_weight_is_the_smallest_that_meets_the_budget(seed, share, k):
    rng = np.random.default_rng(seed)
    quality, costs = rng.random((30, k)), rng.random((30, k)).round(2)
    low, high = costs.min(axis=1).mean(), mean_cost(quality, costs, 0.0)
    budget = low + share * (high - low)
    weight = weight_for_budget(quality, costs, budget)
    assert mean_cost(quality, costs, weight) <= budget + 1e-9
    if weight > 0:
        for smaller in weight * np.array([0.0, 0.5, 0.9, 0.999, 1 - 1e-6]):
            assert mean_cost(quality, costs, smaller) >= mean_cost(quality, costs, weight)
        assert mean_cost(quality, costs, weight * (1 - 1e-6)) > budget - 1e-9


def test_the_mean_cost_never_grows_with_the_weight():
    rng = np.random.default_rng(0)
    quality, costs = rng.random((50, 4)), rng.random((50, 4))
    means = [mean_cost(quality, costs, w) for w in np.linspace(0, 5, 60)]
    assert (np.diff(means) <= 1e-12).all()
    assert means[-1] == pytest.approx(costs.min(axis=1).mean(), abs=0.05)


def test_a_budget_below_the_cheapest_is_refused():
    with pytest.raises(ValueError, match=r"budget must be at least 1\b.*got 0.5"):
        weight_for_budget(np.ones((3, 2)), np.array([[1.0, 2.0]] * 3), 0.5)


def test_prices_by_name_follow_the_classes():
    classes = np.array(["b", "a"], dtype=object)
    assert read_costs({"a": 1.0, "b": 2.0, "c": 9.0}, classes).tolist() == [2.0, 1.0]
    assert read_costs(None, classes).tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="a cost for each of"):
        read_costs({"a": 1.0}, classes)
    with pytest.raises(ValueError, match="2 finite numbers"):
        read_costs([1.0, np.inf], classes)
