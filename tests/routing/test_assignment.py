"""Conversations and capacities: by hand, by brute force, and through the router."""

import itertools

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone

from lookahead_sk import LookaheadRouter, TokenPrice
from lookahead_sk.baselines import KNNRouter
from lookahead_sk.metrics._tables import read_prices, read_token_prices
from lookahead_sk.routing import conversation_text
from lookahead_sk.routing._costs._assignment import (
    Limits,
    assign,
    read_capacity,
    read_current,
    with_switching,
)

NAMES = ["large", "small"]
PRICES = {
    "large": TokenPrice(input=10.0, output=10.0, cached_input=1.0),
    "small": TokenPrice(input=2.0, output=2.0),
}


class Letters:
    """An encoder of no weight: how often each letter stands in a text."""

    def encode(self, texts, **options):
        return np.array([[text.count(chr(97 + j)) for j in range(26)] for text in texts], float)


def talk(*contents):
    roles = itertools.cycle(["user", "assistant"])
    return [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]


# ------------------------------------------------------------------ capacity


@pytest.mark.parametrize("seed", range(5))
def test_the_assignment_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    utility, most = rng.random((6, 3)), np.array([2, 3, 2])
    found = assign(utility, Limits(np.eye(3, dtype=bool), most))
    fitting = [
        each
        for each in itertools.product(range(3), repeat=6)
        if (np.bincount(each, minlength=3) <= most).all()
    ]
    best = max(sum(utility[range(6), list(each)]) for each in fitting)
    assert utility[range(6), found].sum() == pytest.approx(best)
    assert (np.bincount(found, minlength=3) <= most).all()


def test_the_assignment_is_that_of_the_hungarian_method():
    rng = np.random.default_rng(0)
    utility, most = rng.random((200, 4)), np.array([60, 50, 60, 40])
    rows, places = linear_sum_assignment(np.repeat(utility, most, axis=1), maximize=True)
    expected = utility[rows, np.repeat(np.arange(4), most)[places]].sum()
    assert utility[
        np.arange(200), assign(utility, Limits(np.eye(4, dtype=bool), most))
    ].sum() == pytest.approx(expected)


def test_without_a_limit_every_row_takes_its_best():
    utility = np.random.default_rng(1).random((50, 3))
    limits = Limits(np.eye(3, dtype=bool), np.full(3, 50))
    assert_array_equal(assign(utility, limits), utility.argmax(axis=1))


def test_shares_are_rounded_down_and_must_suffice():
    assert read_capacity({"large": 0.25}, NAMES, 10).most.tolist() == [2]
    assert read_capacity([0.3, 0.7], NAMES, 10).most.tolist() == [3, 7]
    with pytest.raises(ValueError, match=r"capacity must be enough for the batch of 10 prompts"):
        assign(np.ones((10, 2)), read_capacity([0.3, 0.5], NAMES, 10))
    with pytest.raises(ValueError, match=r"capacity must be a float in \[0, 1\]; got 2"):
        read_capacity({"large": 2.0}, NAMES, 10)
    with pytest.raises(ValueError, match="capacity must be of models among"):
        read_capacity({"huge": 0.5}, NAMES, 10)


ARMS = ["gpt@low", "gpt@high", "small"]


def test_all_arms_of_a_model_share_its_capacity():
    rng = np.random.default_rng(2)
    utility = rng.random((7, 3)) + [0.5, 0.5, 0.0]
    limits = read_capacity({"gpt": 0.6, "gpt@high": 0.3}, ARMS, 7)
    found = assign(utility, limits)
    fitting = [
        each
        for each in itertools.product(range(3), repeat=7)
        if sum(k < 2 for k in each) <= 4 and sum(k == 1 for k in each) <= 2
    ]
    best = max(sum(utility[range(7), list(each)]) for each in fitting)
    assert utility[range(7), found].sum() == pytest.approx(best)


def test_arms_take_the_price_and_the_cache_of_their_model():
    assert read_prices({"gpt": 3.0, "gpt@high": 5.0, "small": 1.0}, ARMS).tolist() == [3, 5, 1]
    prices = {"gpt": PRICES["large"], "small": PRICES["small"]}
    assert read_token_prices(prices, ARMS) == [PRICES["large"]] * 2 + [PRICES["small"]]
    current = read_current("gpt@low", ARMS, 1)
    assert with_switching(np.ones((1, 3)), current, 0.5, None, ARMS, None).tolist() == [[1, 1, 1.5]]
    cached = with_switching(np.full((1, 3), 20.0), current, None, prices, ARMS, np.array([4e6]))
    np.testing.assert_allclose(cached, [[11.0, 11.0, 20.0]])


# ------------------------------------------------------------------ conversations


def test_a_conversation_is_written_from_its_end():
    assert conversation_text(talk("hello")) == "hello"
    assert conversation_text(talk("a", "b", "c")) == "c\n\n[assistant] b\n\n[user] a"
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {}}]
    assert conversation_text([{"role": "user", "content": parts}]) == "look"
    assert conversation_text([{"role": "assistant", "content": None, "tool_calls": []}]) == ""
    for wrong in ([], "hello", [1]):
        with pytest.raises(ValueError, match="messages must be a list of mappings"):
            conversation_text(wrong)
    with pytest.raises(TypeError, match="content is a text"):
        conversation_text([{"role": "user", "content": 3}])
    with pytest.raises(TypeError, match="role is a text"):
        conversation_text([{"content": "a"}, {"role": "user", "content": "b"}])


def test_routers_read_conversations_as_their_texts():
    X = [talk("aaa", "b", "c" * i) for i in range(1, 13)]
    y = np.tile([[0.0, 1.0], [1.0, 0.0]], (6, 1))
    texts = [conversation_text(each) for each in X]
    mixed = [*X[:6], *texts[6:]]
    made = KNNRouter(Letters(), n_neighbors=1, lexical_features=0)
    fitted = [clone(made).fit(each, y) for each in (X, texts, mixed)]
    for router in fitted:
        assert_array_equal(router.predict_quality(X), fitted[0].predict_quality(texts))


def test_switching_costs_the_context_read_anew():
    costs = np.array([[1.0, 0.2], [1.0, 0.2], [1.0, 0.2]])
    current = read_current(["large", "small", None], NAMES, 3)
    added = with_switching(costs, current, 0.5, None, NAMES, None)
    assert added.tolist() == [[1.0, 0.7], [1.5, 0.2], [1.0, 0.2]]
    context = np.array([4e6, 4e6, 4e6])  # a million tokens
    cached = with_switching(costs, current, None, PRICES, NAMES, context)
    np.testing.assert_allclose(cached, [[1.0 - 9.0, 0.2], [1.0, 0.2], [1.0, 0.2]])
    with pytest.raises(ValueError, match="current must be None or one of"):
        read_current("huge", NAMES, 3)
    with pytest.raises(ValueError, match="switch_cost must be a finite number"):
        with_switching(costs, current, -1.0, None, NAMES, None)


@pytest.fixture(scope="module")
def router():
    """Long prompts of "a" are the large model's; careful: do not fit it again."""
    rng = np.random.default_rng(0)
    prompts = ["a" * int(a) + "b" * int(b) for a, b in rng.integers(1, 30, (120, 2))]
    is_large = np.array([text.count("a") > 15 for text in prompts])
    scores = pd.DataFrame({"large": np.where(is_large, 0.9, 0.6), "small": 0.6}, index=range(120))
    responses = np.full((120, 2), "b" * 40, dtype=object)
    router = LookaheadRouter(
        Letters(), costs=PRICES, cost_unit="length", cost_weight=200.0, lexical_features=0,
        max_epochs=3, random_state=0,
    )  # fmt: skip
    lengths = np.full((120, 2), 10.0)
    return router.fit(prompts, scores, responses=responses, response_lengths=lengths)


def test_the_serving_model_is_left_only_for_more_than_the_context_costs(router):
    hard = "a" * 28 + "b"
    short, long = talk("b", "b", hard), talk("b" * 4000, "b", hard)
    assert router.predict([short])[0] == "large"
    quality, costs = router.predict_quality([short])[0], router.predict_cost([short])[0]
    gain = quality[0] - quality[1] - 200.0 * (costs[0] - costs[1])
    assert gain > 0
    for share, expected in ((0.9, "large"), (1.1, "small")):
        price = share * gain / 200.0
        found = router.predict([short], current="small", switch_cost=price)
        assert found[0] == expected
    # A long context is dear to read for the large model, and cheap where it has it in its cache.
    easy = talk("a" * 4000, "b", "b")
    assert router.predict([easy], current=["large"]).shape == (1,)
    utility = router.predict_quality([long]) - 200.0 * router.predict_cost([long])
    saving = 200.0 * (4001 / 4) * 9.0 / 1e6
    stays = utility[0, 0] + saving >= utility[0, 1]
    assert router.predict([long], current="large")[0] == ("large" if stays else "small")
    assert_array_equal(router.predict([long], current=[None]), router.predict([long]))


def test_a_share_of_the_batch_limits_a_model(router):
    prompts = ["a" * 28 + "b" * i for i in range(10)]
    assert (router.predict(prompts) == "large").all()
    found = router.predict(prompts, capacity={"large": 0.3})
    assert (found == "large").sum() == 3
    with pytest.raises(ValueError, match="budget must be None where capacity is given"):
        router.predict(prompts, 1.0, capacity={"large": 0.3})


def test_what_switching_needs_is_named(router):
    prompts = ["a" * 28]
    with pytest.raises(ValueError, match="switch_cost must be given, unless"):
        router.predict(prompts, current="small")
    with pytest.raises(ValueError, match="current must be given where there is a switch_cost"):
        router.predict(prompts, switch_cost=1.0)
    free = LookaheadRouter("passthrough", max_epochs=1, random_state=0)
    free.fit(np.eye(4), [[0.0, 1.0], [1.0, 0.0]] * 2)
    with pytest.raises(ValueError, match="cost_weight must be above 0 where current is given"):
        free.predict(np.eye(4), current=0, switch_cost=1.0)
