"""Kinds of faults that users of other routers reported, replayed: each with more than one input."""

import math
from collections import OrderedDict
from decimal import Decimal
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from _tiny_models import learnable, tiny
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lookahead_sk import CausalLookaheadRouter, LookaheadRouter, MaskedLookaheadRouter
from lookahead_sk.baselines import KNNRouter, MLPRouter
from lookahead_sk.inspection import RoutingConfusionDisplay, RoutingCurveDisplay
from lookahead_sk.metrics import (
    cost_quality_curve,
    make_cost_scorer,
    make_utility_scorer,
    oracle_gain_score,
    routing_score,
)
from lookahead_sk.metrics._cost_quality import tie_weights
from lookahead_sk.model_selection import cross_val_quality
from lookahead_sk.routing._costs._utility import mean_cost, switch_weights, weight_for_budget
from lookahead_sk.routing._features._sentence_encoder import encode

NAMES = ["a", "b", "c"]


def numbers():
    X = np.random.RandomState(0).randn(90, 4)
    Y = pd.DataFrame(np.random.RandomState(1).rand(90, 3), columns=NAMES)
    return X, Y + 0.4 * X[:, :3]


def made(**parameters):
    return LookaheadRouter("passthrough", random_state=0, max_epochs=2, **parameters)


@pytest.fixture(scope="module")
def fitted():
    return made(costs={"a": 1.0, "b": 2.0, "c": 4.0}).fit(*numbers())


# 1. What was never observed is not zero.


def test_a_model_without_lengths_has_no_cost_by_length():
    X, Y = numbers()
    lengths = np.random.RandomState(2).randint(1, 99, (90, 3)).astype(float)
    lengths[:, 2] = np.nan
    router = made(costs=[1, 2, 3], cost_unit="length").fit(
        X, Y, responses=np.random.RandomState(3).randn(90, 3, 5), response_lengths=lengths
    )
    for call in (
        lambda: router.predict_cost(X),
        lambda: router.predict(X, budget=50.0),
        lambda: router.tune_cost(X, budget=50.0),
    ):
        with pytest.raises(ValueError, match=r"lengths of every model; \['c'\] came without"):
            call()
    seen = router.foresee(X[:1])[0]
    assert seen["c"]["length"] is None
    assert seen["a"]["length"] > 1


@pytest.mark.parametrize("is_text", [True, False])
def test_a_model_without_responses_is_foreseen_as_unknown(is_text, encoder):
    prompts, scores, texts = learnable(40)
    X = np.random.RandomState(0).randn(40, 3)
    responses = texts.copy() if is_text else np.random.RandomState(1).randn(40, 2, 4)
    responses[:, 1] = None if is_text else np.nan
    options = {"encoder": encoder if is_text else "passthrough", "max_epochs": 1}
    router = LookaheadRouter(random_state=0, **options)
    X = prompts if is_text else X
    seen = router.fit(X, scores, responses=responses).foresee(X[:2])[0]
    assert seen[1] == {"response": None, "row": None, "similarity": None, "length": None}
    assert isinstance(seen[0]["row"], int)


def test_lengths_that_would_not_be_learnt_from_are_refused_or_announced():
    X, Y = numbers()
    lengths = np.ones((90, 3))
    for responses in (None, np.full((90, 3, 4), np.nan)):
        with pytest.raises(ValueError, match="responses must be given where response_lengths are"):
            made().fit(X, Y, responses=responses, response_lengths=lengths)
    seen = {"responses": np.random.RandomState(3).randn(90, 3, 4), "response_lengths": lengths}
    with pytest.warns(UserWarning, match="not learnt from: response_weight=0 leaves them out"):
        made(response_weight=0).fit(X, Y, **seen)


@pytest.mark.parametrize("costs", [[1, -1e-9, 2], {"a": 1, "b": -2, "c": 0}, pd.Series([-1, 0, 0])])
def test_a_negative_price_is_refused_everywhere(costs, fitted):
    X, Y = numbers()
    message = "costs must be 3 finite numbers, one per model, none negative"
    with pytest.raises(ValueError, match=message):
        made(costs=costs).fit(X, Y)
    router = made(costs=[0, 0, 0]).fit(X, Y).set_params(costs=costs)
    for call in (
        lambda: router.predict_cost(X),
        lambda: router.predict(X, budget=1.0),
        lambda: router.tune_cost(X, budget=1.0),
    ):
        with pytest.raises(ValueError, match=message):
            call()


# 2. What is saved can be loaded.


@pytest.mark.parametrize(
    "costs",
    [
        pd.Series([3.0, 2.0, 1.0]),
        pd.Series([1, 2, 3], index=["c", "b", "a"]),
        OrderedDict(c=1, a=Fraction(3), b=np.float32(2)),
        {"a": Decimal("3"), "b": Decimal(2), "c": 1, "to come": 7},
        torch.tensor([3.0, 2.0, 1.0]),
        (3, 2, 1),
        np.array([3, 2, 1]),
    ],
)
def test_prices_of_every_form_are_saved_by_name(costs, tmp_path):
    router = made(costs=costs, verbose=False, cost_weight=Fraction(1, 2)).fit(*numbers())
    router.save_pretrained(tmp_path / "router")
    loaded = LookaheadRouter.from_pretrained(tmp_path / "router")
    assert {name: loaded.costs[name] for name in NAMES} == {"a": 3.0, "b": 2.0, "c": 1.0}
    assert loaded.costs.get("to come", 7.0) == 7.0
    assert loaded.cost_weight == 0.5
    np.testing.assert_array_equal(loaded.predict(numbers()[0]), router.predict(numbers()[0]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"costs": [1.0, 2.0]}, "costs must be 3 finite numbers"),
        ({"fallback": "zz"}, "fallback must be None or one of"),
        ({"max_epochs": 0}, "max_epochs must be an int"),
        ({"cost_unit": "token"}, "cost_unit must be one of"),
    ],
)
def test_a_save_that_could_not_be_loaded_is_refused_at_once(changes, message, tmp_path):
    router = made().fit(*numbers()).set_params(**changes)
    with pytest.raises(ValueError, match=message):
        router.save_pretrained(tmp_path / "router")
    assert list(tmp_path.iterdir()) == []


def test_models_named_by_what_cannot_be_written_are_named(tmp_path):
    X, Y = numbers()
    Y.columns = [pd.Timestamp("2026-01-01"), "b", "c"]
    with pytest.raises(ValueError, match="y must be a table whose models have text or numbers"):
        made().fit(X, Y).save_pretrained(tmp_path / "router")


# 3. Names decide where named tables meet.


def test_a_display_knows_the_models_by_name(fitted):
    X, Y = numbers()
    turned = Y[["c", "a", "b"]].assign(other=0.0)
    one = RoutingCurveDisplay.from_estimator(fitted, X, Y)
    other = RoutingCurveDisplay.from_estimator(fitted, X, turned)
    np.testing.assert_allclose(one.model_qualities, other.model_qualities)
    np.testing.assert_allclose(one.lines_[0].get_ydata(), other.lines_[0].get_ydata())
    matrix = RoutingConfusionDisplay.from_estimator(fitted, X, Y).confusion_matrix
    turned = RoutingConfusionDisplay.from_estimator(fitted, X, turned).confusion_matrix
    np.testing.assert_allclose(matrix, turned)
    plt.close("all")


@pytest.mark.parametrize("names", [["x", "y", "z"], [2, 0, 1], [10, 20, 30]])
def test_metrics_and_scorers_go_by_name(names):
    X, Y = numbers()
    Y.columns = names
    router = made().fit(X, Y)
    chosen, turned = router.predict(X), Y[[names[1], names[2], names[0]]]
    assert routing_score(turned, chosen) == pytest.approx(router.score(X, Y))
    assert router.score(X, turned) == pytest.approx(router.score(X, Y))
    assert routing_score(turned, chosen, models=names) == pytest.approx(router.score(X, Y))
    gain = oracle_gain_score(Y, chosen, best_single=names[0])
    assert oracle_gain_score(turned, chosen, best_single=names[0]) == pytest.approx(gain)
    prices = dict(zip(names, [1.0, 2.0, 4.0], strict=True))
    backwards = dict(reversed(prices.items()))
    expected = np.mean([prices[name] for name in chosen.tolist()])
    for costs in (prices, backwards, pd.Series(backwards), [1.0, 2.0, 4.0]):
        assert make_cost_scorer(costs)(router, X, Y) == pytest.approx(expected)
        utility = make_utility_scorer(costs, 0.1)(router, X, Y)
        assert utility == pytest.approx(router.score(X, Y) - 0.1 * expected)
    quality = pd.DataFrame(router.predict_quality(X), columns=names)
    curve = cost_quality_curve(Y, quality, [1.0, 2.0, 4.0])
    again = cost_quality_curve(turned, quality, prices)
    np.testing.assert_allclose(curve.qualities, again.qualities)
    np.testing.assert_allclose(curve.costs, again.costs)


def test_a_mapping_without_names_to_meet_is_refused():
    with pytest.raises(ValueError, match=r"costs must be a mapping with a cost for each of \[0, 1"):
        cost_quality_curve([[0.0, 1.0]], [[0.0, 1.0]], {"small": 1.0, "large": 2.0})
    with pytest.raises(ValueError, match=r"\['c'\] are missing"):
        made(costs=pd.Series([1.0, 2.0, 3.0], index=["a", "b", "x"])).fit(*numbers())


def test_responses_go_by_name_also_where_names_are_numbers():
    X, Y = numbers()
    Y.columns = [2, 0, 1]
    lengths = pd.DataFrame(np.random.RandomState(0).rand(90, 3) * [1, 100, 10_000])
    responses = np.random.RandomState(1).randn(90, 3, 4)
    router = made(costs=[1.0] * 3, cost_unit="length")
    router.fit(X, Y, responses=responses, response_lengths=lengths)
    cost = dict(zip(router.classes_.tolist(), router.predict_cost(X).mean(axis=0), strict=True))
    assert cost[0] < cost[1] < cost[2]
    with pytest.raises(ValueError, match=r"chosen must be models out of \[2, 5, 9\]"):
        routing_score(Y.set_axis([2, 5, 9], axis=1), [0] * 90)


def test_after_drop_model_a_table_may_still_show_it(fitted):
    import copy

    X, Y = numbers()
    router = copy.deepcopy(fitted).drop_model("b")
    assert router.score(X, Y[["b", "c", "a"]]) == pytest.approx(router.score(X, Y[["a", "c"]]))
    display = RoutingCurveDisplay.from_estimator(router, X, Y)
    assert display.models == ["a", "c"]
    plt.close("all")


@pytest.mark.parametrize(
    "form",
    [
        lambda Y: {name: Y[name].tolist() for name in Y},
        lambda Y: Y.to_dict("records"),
        lambda Y: Y.to_records(index=False),
        lambda Y: OrderedDict(a=0.5, b=1.0),
    ],
)
def test_records_whose_names_would_not_be_read_are_refused(form, fitted):
    X, Y = numbers()
    table = form(Y)
    for call in (
        lambda: made().fit(X, table),
        lambda: fitted.partial_fit(X, table),
        lambda: fitted.score(X, table),
        lambda: routing_score(table, ["a"] * 90),
    ):
        with pytest.raises(TypeError, match="must be an array or a DataFrame; got"):
            call()


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT, "d", 3, True])
def test_a_choice_that_is_no_model_is_named(missing):
    _, Y = numbers()
    with pytest.raises(ValueError, match=r"chosen must be models out of \['a', 'b', 'c'\]"):
        routing_score(Y, np.array([*["a"] * 89, missing], dtype=object))


# 4. A convention of scikit-learn that corrupts scores.


def test_cross_val_predict_is_warned_of_and_cross_val_quality_is_right():
    X, Y = numbers()
    router = KNNRouter("passthrough", n_neighbors=5)
    with pytest.warns(UserWarning, match=r"cross_val_predict\(method='predict_proba'\)"):
        cross_val_predict(router, X, Y, method="predict_proba", cv=3)
    quality = cross_val_quality(router, X, Y, cv=3)
    part = KNNRouter("passthrough", n_neighbors=5).fit(X[30:], Y[30:])
    np.testing.assert_allclose(quality[:30], part.predict_quality(X[:30]))


def test_ratings_are_scores_and_responses_are_sliced(recwarn):
    X, Y = numbers()
    KNNRouter("passthrough").fit(X, (5 * Y).round().clip(0, 5).astype(int))
    KNNRouter("passthrough").fit(X, (100 * Y).round())
    assert not recwarn.list
    scores = learnable(40)[1]
    quality = cross_val_quality(
        LookaheadRouter(encoder="passthrough", max_epochs=1, random_state=0),
        np.random.RandomState(0).randn(40, 3),
        scores,
        cv=2,
        params={"responses": np.random.RandomState(1).randn(40, 2, 3)},
    )
    assert quality.shape == scores.shape


# 5. A number is shown in its own unit.


def test_prices_of_a_length_are_shown_as_such(tmp_path):
    X, Y = numbers()
    lengths = np.tile([100.0, 1000.0, 10_000.0], (90, 1))
    router = made(costs=[1e-3] * 3, cost_unit="length")
    router.fit(X, Y, responses=np.random.RandomState(1).randn(90, 3, 4), response_lengths=lengths)
    display = RoutingCurveDisplay.from_estimator(router, X, Y)
    np.testing.assert_allclose(display.model_costs, [0.1, 1.0, 10.0], rtol=0.01)
    plt.close("all")
    router.save_pretrained(tmp_path / "router")
    card = (tmp_path / "router" / "README.md").read_text()
    assert "price of a unit of length" in card
    assert "cost of a call" not in card
    made().fit(X, Y).save_pretrained(tmp_path / "other")
    assert "not given" in (tmp_path / "other" / "README.md").read_text()


# 6. pd.NA is NaN.


def test_na_is_nan_wherever_a_table_enters():
    X, Y = numbers()
    gaps = Y.mask(np.random.RandomState(0).rand(90, 3) < 0.3)
    gaps["a"] = Y["a"]
    nullable = gaps.astype("Float64")
    objects = gaps.astype(object).where(gaps.notna(), pd.NA)
    expected = made().fit(X, gaps).predict_quality(X)
    lengths = (100 * Y.abs()).round().mask(gaps.isna())
    seen = {"responses": np.random.RandomState(3).randn(90, 3, 4)}
    with_lengths = made().fit(X, gaps, **seen, response_lengths=lengths).predict_quality(X)
    chosen = ["a"] * 90
    for table in (nullable, objects):
        np.testing.assert_array_equal(made().fit(X, table).predict_quality(X), expected)
        same = made().fit(X, gaps, **seen, response_lengths=lengths.astype("Int64"))
        np.testing.assert_array_equal(same.predict_quality(X), with_lengths)
        assert routing_score(table, chosen) == pytest.approx(routing_score(gaps, chosen))
        router = made().fit(X, gaps)
        assert router.score(X, table) == router.score(X, gaps)
        again = router.partial_fit(X, table).predict_quality(X)
        np.testing.assert_array_equal(
            again, made().fit(X, gaps).partial_fit(X, gaps).predict_quality(X)
        )


@pytest.mark.parametrize("missing", [pd.NA, None, float("nan")])
def test_missing_labels_and_groups_are_told(missing):
    X, Y = numbers()
    labels = np.array((["u", "v"] * 45), dtype=object)
    labels[7] = missing
    with pytest.raises(ValueError, match=r"y must be a label for every prompt.*position 7"):
        made().fit(X, pd.Series(labels))
    with pytest.raises(ValueError, match=r"groups must be one label for each prompt.*position 7"):
        routing_score(Y, ["a"] * 90, groups=labels, average="macro")
    whole = pd.Series([0, 1] * 45, dtype="Int64")
    assert made().fit(X, whole).classes_.tolist() == [0, 1]


# 7. The process's torch state is not ours.


def test_gradients_that_are_off_and_other_default_types_change_nothing(encoder):
    X, Y = numbers()
    prompts, scores, texts = learnable(24)
    backbones = {"masked": tiny("bert"), "causal": tiny("llama")}
    quick = {"response_tokens": 2, "max_epochs": 1, "random_state": 0, "descriptor_weight": 1.0}

    def fits():
        yield (
            made().fit(X, Y, responses=np.random.RandomState(1).randn(90, 3, 4)).predict_quality(X)
        )
        yield MLPRouter("passthrough", max_epochs=2, random_state=0).fit(X, Y).predict_quality(X)
        text = LookaheadRouter(encoder=encoder, max_epochs=1, random_state=0)
        yield text.fit(prompts, scores, responses=texts).predict_quality(prompts)
        for cls, name in ((MaskedLookaheadRouter, "masked"), (CausalLookaheadRouter, "causal")):
            router = cls(backbones[name], **quick).fit(prompts, scores, responses=texts)
            yield router.predict_quality(prompts)

    expected = list(fits())
    with torch.no_grad():
        found = [list(fits())]
    with torch.inference_mode():
        found.append(list(fits()))
    torch.set_default_dtype(torch.float64)
    try:
        found.append(list(fits()))
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    for each in found:
        for one, other in zip(expected, each, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)


# 8. Encoders.


class Bare:
    """Nothing but ``encode(texts)``; returns a list."""

    def __init__(self, width=3):
        self.width = width

    def encode(self, texts):
        return [[len(text), text.count("a"), 1.0, 2.0, 3.0][: self.width] for text in texts]


def test_an_object_with_encode_alone_is_an_encoder():
    prompts, scores, texts = learnable(40)
    router = LookaheadRouter(encoder=Bare(), max_epochs=1, random_state=0, max_length=2)
    router.fit(prompts, scores, responses=texts)
    assert router.predict(prompts).shape == (40,)
    vectors = encode(["a", "bb"], Bare())
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-6)
    assert not hasattr(router.encoder, "max_seq_length")


def test_static_embeddings_are_an_encoder():
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    model = SentenceTransformer(
        modules=[StaticEmbedding(tiny("bert")[1].backend_tokenizer, embedding_dim=8)], device="cpu"
    )
    prompts, scores, texts = learnable(40)
    router = LookaheadRouter(encoder=model, max_epochs=1, random_state=0)
    router.fit(prompts, scores, responses=texts)
    assert router.predict(prompts).shape == (40,)
    long = "sum " * 2000
    assert not np.allclose(encode(["sum cat", long + "cat"], model, max_tokens=4)[1], 0)


@pytest.mark.parametrize("lexical_features", [0, 8])
def test_an_encoder_of_another_width_is_named(lexical_features, tmp_path):
    prompts, scores, _ = learnable(40)
    router = LookaheadRouter(Bare(), lexical_features=lexical_features, max_epochs=1)
    router.fit(prompts, scores)
    router.save_pretrained(tmp_path / "router")
    message = r"encoder must be one that gives 3 numbers a text, as in fit; got 5 numbers"
    with pytest.raises(ValueError, match=message):
        router.set_params(encoder=Bare(5)).predict(prompts)
    with pytest.raises(ValueError, match=message):
        LookaheadRouter.from_pretrained(tmp_path / "router", encoder=Bare(5)).predict(prompts)


@pytest.mark.parametrize(
    "gives", [lambda texts: np.zeros(len(texts)), lambda texts: [["x"]] * len(texts),
              lambda texts: np.full((len(texts), 2), np.nan), lambda texts: np.zeros((1, 2))],
)  # fmt: skip
def test_an_encoder_that_gives_no_rows_is_named(gives):
    class Odd:
        def encode(self, texts):
            return gives(texts)

    prompts, scores, _ = learnable(40)
    with pytest.raises(ValueError, match=r"encoder must be one whose encode gives \d+ rows"):
        LookaheadRouter(encoder=Odd(), max_epochs=1).fit(prompts, scores)


# 9. Displays take what scikit-learn takes.


def test_displays_take_pipelines_and_searches(fitted):
    X, Y = numbers()
    costs = {"a": 1.0, "b": 2.0, "c": 4.0}
    pipeline = make_pipeline(StandardScaler(), made(costs=costs)).fit(X, Y)
    search = GridSearchCV(pipeline, {"lookaheadrouter__learning_rate": [1e-3, 1e-2]}, cv=2)
    for estimator in (pipeline, search.fit(X, Y), {"one": pipeline, "two": fitted}):
        assert RoutingCurveDisplay.from_estimator(estimator, X, Y).models == NAMES
    confusion = RoutingConfusionDisplay.from_estimator(search, X, Y)
    assert confusion.confusion_matrix.shape == (3, 3)
    plt.close("all")


def test_displays_say_what_is_wrong(fitted):
    X, Y = numbers()
    for estimator in (made(costs=[1, 2, 3]), make_pipeline(StandardScaler(), made())):
        with pytest.raises(NotFittedError):
            RoutingCurveDisplay.from_estimator(estimator, X, Y)
        with pytest.raises(NotFittedError):
            RoutingConfusionDisplay.from_estimator(estimator, X, Y)
    with pytest.raises(ValueError, match=r"\['c'\] are missing"):
        RoutingCurveDisplay.from_estimator(fitted, X, Y, costs={"a": 1.0, "b": 2.0})
    with pytest.raises(TypeError, match="estimator must be a router"):
        RoutingCurveDisplay.from_estimator(StandardScaler().fit(X), X, Y, costs=[1, 2, 3])


# 10. Parameters are checked when they are used, and more.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cost_weight": -1.0}, "cost_weight must be a float"),
        ({"cost_weight": math.nan}, "cost_weight must be a float"),
        ({"cost_unit": "token"}, "cost_unit must be one of"),
        ({"costs": [1.0, math.nan, 2.0]}, "costs must be 3 finite.*{'b': nan}"),
        ({"costs": {"a": 1, "b": 2, "c": -3}}, "none negative; got .*{'c': -3.0}"),
        ({"fallback": "zz"}, "fallback must be"),
        ({"fallback": "a", "novelty_level": 2.0}, "novelty_level must be"),
        ({"device": "tpu"}, "device must be"),
    ],
)
def test_parameters_set_after_fit_are_checked_in_predict(changes, message):
    X, Y = numbers()
    router = made(costs=[1.0, 2.0, 3.0]).fit(X, Y).set_params(**changes)
    with pytest.raises((ValueError, TypeError), match=message):
        router.predict(X)


@pytest.mark.parametrize("X", [{"a": 1, "b": 2}, {"one", "two"}, {"x": "text"}.keys()])
def test_what_has_no_order_is_no_list_of_prompts(X):
    with pytest.raises(TypeError, match="X must be a list of strings, in an order"):
        LookaheadRouter().fit(X, [[0.0, 1.0]] * len(X))


@pytest.mark.parametrize("weights", [[math.nan] * 90, [-1.0] * 90, [0.0] * 90, [1.0] * 3])
def test_weights_that_are_none_are_refused(fitted, weights):
    X, Y = numbers()
    with pytest.raises(ValueError, match="sample_weight must be"):
        fitted.score(X, Y, sample_weight=weights)


def test_constant_scores_certify_that_nothing_is_lost():
    X, _ = numbers()
    Y = pd.DataFrame(np.full((90, 2), 0.5), columns=["dear", "cheap"])
    router = made(costs=[2.0, 1.0]).fit(X, Y)
    router.tune_cost(X, Y, reference="dear", max_loss=0.3, alpha=0.1)
    assert set(router.predict(X)) == {"cheap"}


def test_a_budget_needs_no_table_of_all_pairs():
    rng = np.random.RandomState(0)
    for n, n_models in ((60, 5), (40, 2), (7, 12)):
        quality, costs = rng.rand(n, n_models), rng.rand(n, n_models).round(1)
        switches = switch_weights(quality, costs)
        assert len(switches) <= n * (n_models - 1)
        ties = np.unique(tie_weights(quality, costs))
        assert set(switches.tolist()) <= set(ties.tolist())
        low, high = costs.min(axis=1).mean(), costs.mean()
        for budget in np.linspace(low, high, 7):
            weight = weight_for_budget(quality, costs, budget)
            assert mean_cost(quality, costs, weight) <= budget + 1e-12
            smaller = [tie for tie in ties * (1 + 1e-9) if tie < weight]  # none of these meets it
            if smaller:
                assert mean_cost(quality, costs, max(smaller)) > budget


# 11. What a fresh pair of eyes found.


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.linspace(0, 1, 90), r"y must be scores of shape \(90, 3\), or labels"),
        (np.linspace(0, 1, 90)[:, None], r"y must be scores of shape \(90, 3\), or labels"),
        (np.full((90, 3), np.inf), "y must be finite"),
        (np.full((90, 3), "1.0"), "y must be an array of numbers"),
        (np.full((90, 3), np.datetime64("2026-01-01")), "y must be an array of numbers"),
        (np.ones((90, 2)), r"y must be of shape \(n, 3\)"),
        (7.0, "y must be a score table"),
    ],
)
def test_a_score_of_what_is_no_score_table_is_refused(fitted, y, message):
    with pytest.raises(ValueError, match=message):
        fitted.score(numbers()[0], y)


@pytest.mark.parametrize("seed", ["a", -1, 1.5, 2**40])
def test_a_seed_that_is_none_is_named(seed):
    with pytest.raises(ValueError, match="random_state must be None, an int in"):
        made().set_params(random_state=seed).fit(*numbers())


def test_a_training_in_progress_goes_on_with_its_own_backbone_only(tmp_path, monkeypatch):
    from lookahead_sk.routing._language_model import _training

    prompts, scores, responses = learnable(40)
    quick = {"response_tokens": 2, "max_epochs": 2, "batch_size": 8, "random_state": 0}
    quick["encoder"] = "drop"
    other, tokenizer = tiny("bert")
    with torch.no_grad():
        other.bert.embeddings.word_embeddings.weight.mul_(-1.0)
    expected = MaskedLookaheadRouter((other, tokenizer), **quick).fit(prompts, scores)
    run_epoch = _training.LanguageTrainer.run_epoch

    def dying(self):
        run_epoch(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(_training.LanguageTrainer, "run_epoch", dying)
    with pytest.raises(KeyboardInterrupt):
        MaskedLookaheadRouter(tiny("bert"), checkpoint_folder=tmp_path, **quick).fit(
            prompts, scores, responses=responses
        )
    with pytest.raises(KeyboardInterrupt):
        MaskedLookaheadRouter(tiny("bert"), checkpoint_folder=tmp_path, **quick).fit(
            prompts, scores
        )
    monkeypatch.undo()
    found = MaskedLookaheadRouter((other, tokenizer), checkpoint_folder=tmp_path, **quick)
    found.fit(prompts, scores)
    np.testing.assert_array_equal(found.predict_quality(prompts), expected.predict_quality(prompts))


def test_updates_in_another_thread_disturb_nobody(fitted):
    import copy
    import threading

    X, Y = numbers()
    router = copy.deepcopy(fitted).set_params(costs={"a": 1.0, "b": 2.0, "c": 4.0, "n": 3.0})
    problems, stop = [], threading.Event()
    table = Y.assign(n=0.5)

    def read():
        while not stop.is_set():
            try:
                names = set(router.predict(X, budget=2.5).tolist())
                score = router.score(X, table)
                if not names <= set("abcn") or not np.isfinite(score):
                    problems.append(names)
                router.predict_proba(X)
                router.predict_cost(X)
            except Exception as error:
                problems.append(repr(error))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(25):
        router.add_model("n", X, Y["a"] + 1)
        router.partial_fit(X[:5], table[:5])
        router.drop_model("n")
    stop.set()
    for thread in threads:
        thread.join()
    assert not problems


class Renamed(LookaheadRouter):
    """A subclass without parameters of its own."""


class Extended(LookaheadRouter):
    """A subclass with a parameter of its own."""

    def __init__(self, encoder=None, *, extra=1, max_epochs=12):
        super().__init__(encoder, max_epochs=max_epochs)
        self.extra = extra


def test_subclasses_are_saved_as_what_they_are_or_refused(tmp_path):
    X, Y = numbers()
    Renamed("passthrough", max_epochs=1).fit(X, Y).save_pretrained(tmp_path / "router")
    card = (tmp_path / "router" / "README.md").read_text()
    assert "# LookaheadRouter" in card
    assert "Renamed" not in card
    assert type(Renamed.from_pretrained(tmp_path / "router")) is Renamed
    assert type(MaskedLookaheadRouter.from_pretrained(tmp_path / "router")) is LookaheadRouter
    with pytest.raises(ValueError, match=r"not saved.*extra"):
        Extended("passthrough", max_epochs=1).fit(X, Y).save_pretrained(tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cost_weight": "x"}, "cost_weight must be a float"),
        ({"cost_unit": "token"}, "cost_unit must be one of"),
        ({"head": "cls"}, r"changes must be parameters of LookaheadRouter; got \['head'\]"),
        ({"random_state": "x"}, "random_state must be"),
    ],
)
def test_changes_on_the_way_in_are_checked(changes, message, tmp_path):
    made().fit(*numbers()).save_pretrained(tmp_path / "router")
    with pytest.raises((TypeError, ValueError), match=message):
        LookaheadRouter.from_pretrained(tmp_path / "router", **changes)


def test_a_fine_tuned_router_s_card_tells_the_backbone_after_a_second_save(tmp_path):
    prompts, scores, _ = learnable(20)
    router = MaskedLookaheadRouter(tiny("bert"), encoder="drop", response_tokens=2, max_epochs=1)
    router.fit(prompts, scores).save_pretrained(tmp_path / "one")
    MaskedLookaheadRouter.from_pretrained(tmp_path / "one").save_pretrained(tmp_path / "two")
    for folder in ("one", "two"):
        assert "a fine-tuned bert backbone" in (tmp_path / folder / "README.md").read_text()
