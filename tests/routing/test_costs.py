"""The cost weight that meets a budget, against a scan."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookahead_sk import LookaheadRouter
from lookahead_sk.metrics._tables import read_prices
from lookahead_sk.routing._costs._utility import mean_cost, weight_for_budget


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
    assert read_prices({"a": 1.0, "b": 2.0, "c": 9.0}, classes).tolist() == [2.0, 1.0]
    assert read_prices(None, classes).tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="a cost for each of"):
        read_prices({"a": 1.0}, classes)
    with pytest.raises(ValueError, match="2 finite numbers"):
        read_prices([1.0, np.inf], classes)


@pytest.fixture(scope="module")
def study():
    """A dear model that is better for x0 > 0 and long-winded, a cheap one, and their responses."""
    rng = np.random.RandomState(0)
    X = rng.randn(400, 4)
    y = np.stack([0.5 + 0.3 * X[:, 0], np.full(400, 0.5)], axis=1)
    y += 0.02 * rng.randn(400, 2)
    lengths = np.stack([np.full(400, 100.0), np.full(400, 10.0)], axis=1)
    responses = np.stack([X, X], axis=1)
    router = LookaheadRouter(encoder="passthrough", max_epochs=3, random_state=0)
    router.fit(X[:200], y[:200], responses=responses[:200], response_lengths=lengths[:200])
    return router, X[200:], y[200:]


@pytest.fixture
def priced(study):
    router, X, y = study
    copied = copy.deepcopy(router).set_params(costs=[3.0, 1.0])
    return copied, X, y


def test_a_budget_is_met_and_no_more_than_that(priced):
    router, X, _ = priced
    price = np.array([3.0, 1.0])
    spent = [price[router.predict(X, budget=b)].mean() for b in (1.0, 1.4, 1.8, 3.0)]
    assert spent[0] == 1.0
    assert all(s <= b + 1e-9 for s, b in zip(spent, (1.0, 1.4, 1.8, 3.0), strict=True))
    assert 1.4 - spent[1] <= 2 / len(X) + 1e-9  # one more prompt would have been too many
    assert (router.predict(X, budget=3.0) == router.predict(X)).all()
    assert router.cost_weight == 0.0


def test_tune_cost_sets_the_weight_that_predict_then_uses(priced):
    router, X, _ = priced
    assert router.tune_cost(X, budget=1.4) is router
    assert router.cost_weight > 0
    assert (router.predict(X) == router.predict(X, budget=1.4)).all()


def test_a_price_for_length_is_times_the_foreseen_length(priced):
    router, X, _ = priced
    router.set_params(cost_unit="length", costs=[0.1, 0.2])
    np.testing.assert_allclose(router.predict_cost(X), np.tile([10.0, 2.0], (200, 1)), rtol=0.1)
    cheap = copy.deepcopy(router).set_params(cost_weight=1.0).predict(X)
    assert (cheap == 1).all()


def test_a_price_for_length_needs_foreseen_lengths(study):
    _, X, y = study
    plain = LookaheadRouter(
        encoder="passthrough", max_epochs=1, costs=[1.0, 1.0], cost_unit="length"
    ).fit(X, y)
    with pytest.raises(ValueError, match="fitted with responses, response_weight > 0"):
        plain.predict(X)


@pytest.mark.filterwarnings("ignore:.*scores lie outside")
def test_a_certified_weight_saves_and_loses_no_more_than_it_may(priced):
    router, X, y = priced
    before = np.array([3.0, 1.0])[router.predict(X)].mean()
    router.tune_cost(X, y, reference=0, max_loss=0.05)
    chosen = router.predict(X)
    assert np.array([3.0, 1.0])[chosen].mean() < before
    assert y[:, 0].mean() - y[np.arange(200), chosen].mean() < 0.05


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "Give either budget or max_loss"),
        ({"budget": 1.0, "max_loss": 0.1}, "Give either budget or max_loss"),
        ({"budget": 0.5}, "budget must be at least 1"),
        ({"max_loss": -1.0, "reference": 0}, "max_loss"),
        ({"max_loss": 0.1, "reference": "gpt"}, "reference must be one of"),
        ({"max_loss": 0.1, "reference": 0, "alpha": 1.0}, "alpha"),
        ({"max_loss": 0.0, "reference": 0}, "No cost weight could be certified"),
    ],
)
def test_a_failed_tune_cost_changes_nothing(priced, options, match):
    router, X, y = priced
    router.cost_weight = 0.125
    y = np.stack([np.ones(200), np.zeros(200)], axis=1) if "max_loss" in options else None
    with pytest.raises(ValueError, match=match):
        router.tune_cost(X, y, **options)
    assert router.cost_weight == 0.125


def test_without_prices_there_is_no_budget(study):
    router, X, _ = study
    with pytest.raises(ValueError, match="costs must be given when there is a budget"):
        router.predict(X, budget=1.0)
    with pytest.raises(ValueError, match="costs must be given to tune"):
        router.tune_cost(X, budget=1.0)


def test_a_budget_is_met_where_models_are_equally_good():
    """The dear model stands first; equal quality at weight 0 must not let it overspend."""
    X = np.ones((8, 2))
    router = LookaheadRouter(encoder="passthrough", max_epochs=1, costs=[5.0, 1.0], random_state=0)
    router.fit(X, np.full((8, 2), 0.5))
    quality = router.predict_quality(X)
    np.testing.assert_array_equal(quality[:, 0], quality[:, 1])
    assert np.array([5.0, 1.0])[router.predict(X, budget=1.0)].mean() == 1.0
    assert np.array([5.0, 1.0])[router.tune_cost(X, budget=1.0).predict(X)].mean() == 1.0
