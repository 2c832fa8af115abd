"""Prices by tokens: costs in dollars for a call, budgets, saved routers, and what is refused."""

import numpy as np
import pytest
from sklearn.base import clone

from lookahead_sk import LookaheadRouter, TokenPrice
from lookahead_sk.datasets import load_routing, make_routing

PRICES = {
    "generalist-xl": TokenPrice(input=5.0, output=15.0),
    "stepwise-l": TokenPrice(input=1.0, output=2.0, characters_per_token=3.0),
    "calculator-s": TokenPrice(input=0.1, output=0.2),
}


class Letters:
    """An encoder of no weight: how often each letter stands in a text."""

    def encode(self, texts, **options):
        return np.array([[text.count(chr(97 + j)) for j in range(26)] for text in texts], float)


@pytest.fixture(scope="module")
def data():
    return make_routing(300, models=list(PRICES), random_state=0, as_frame=True)


def tokens_of(data):
    """A token is four characters here."""
    return data.responses.map(len) / 4


@pytest.fixture(scope="module")
def router(data):
    router = LookaheadRouter(
        Letters(), costs=PRICES, cost_unit="length", max_epochs=3, random_state=0
    )
    return router.fit(
        data.prompts[:200],
        data.scores[:200],
        responses=data.responses[:200],
        response_lengths=tokens_of(data)[:200],
    )


def test_costs_are_tokens_times_prices(router, data):
    new = data.prompts[200:]
    found = router.predict_cost(new)
    read = np.array([len(prompt) for prompt in new])
    foreseen = router.foresee(new)
    for k, (name, price) in enumerate(PRICES.items()):
        written = np.array([each[name]["length"] for each in foreseen])
        counted = read / (3.0 if name == "stepwise-l" else 4.0)
        expected = (counted * price.input + written * price.output) / 1e6
        np.testing.assert_allclose(found[:, k], expected, rtol=1e-6)


def test_the_error_of_predicted_costs_is_small_beside_their_spread(router, data):
    new = data.prompts[200:]
    read = np.array([len(prompt) for prompt in new])
    written = tokens_of(data)[200:].to_numpy()
    true = np.column_stack(
        [
            price.cost(read / price.characters_per_token, written[:, k])
            for k, price in enumerate(PRICES.values())
        ]
    )
    error = np.abs(router.predict_cost(new) - true).mean(axis=0)
    assert (error < 0.35 * true.mean(axis=0)).all()


def test_budgets_are_in_dollars(router, data):
    new = data.prompts[200:]
    costs = router.predict_cost(new)
    budget = float(costs.mean())
    names = router.classes_.tolist()
    chosen = [names.index(name) for name in router.predict(new, budget=budget)]
    assert costs[np.arange(len(new)), chosen].mean() <= budget
    with pytest.raises(ValueError, match="budget must be at least"):
        router.predict(new, budget=1e-9)


def test_a_saved_router_keeps_its_prices(router, data, tmp_path):
    router.save_pretrained(tmp_path / "router")
    back = LookaheadRouter.from_pretrained(tmp_path / "router", encoder=Letters())
    assert back.costs == PRICES
    new = data.prompts[200:210]
    np.testing.assert_allclose(back.predict_cost(new), router.predict_cost(new))
    assert "5 in, 15 out, a million tokens" in (tmp_path / "router" / "README.md").read_text()
    assert clone(router).costs == PRICES


def test_what_prices_by_tokens_need_is_named(data):
    def fit(costs=PRICES, lengths=None, **options):
        made = LookaheadRouter(Letters(), costs=costs, max_epochs=1, **options)
        return made.fit(
            data.prompts[:40],
            data.scores[:40],
            responses=data.responses[:40],
            response_lengths=lengths,
        )

    with pytest.raises(ValueError, match="response_lengths must be given, in tokens"):
        fit(cost_unit="length")
    mixed = {**PRICES, "stepwise-l": 3.0}
    with pytest.raises(ValueError, match=r"costs must be a TokenPrice for each .*\['stepwise-l'\]"):
        fit(mixed)
    router = fit(lengths=tokens_of(data)[:40])
    with pytest.raises(ValueError, match="cost_unit must be 'length' where costs are TokenPrices"):
        router.predict_cost(data.prompts[:2])
    with pytest.raises(ValueError, match="X must be texts where costs are TokenPrices"):
        LookaheadRouter("passthrough", costs=PRICES, max_epochs=1).fit(
            np.zeros((40, 2)), data.scores[:40]
        )


def test_logs_tell_how_long_a_token_is():
    rows = [
        {"prompt": "x" * 40, "model": name, "score": 1.0, "prompt_tokens": count}
        for name, count in (("a", 10), ("b", 8))
    ] + [{"prompt": "y" * 20, "model": "c", "score": 1.0}]
    found = load_routing(rows).characters_per_token
    np.testing.assert_array_equal(found, [4.0, 5.0, np.nan])
