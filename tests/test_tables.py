"""Tables of pandas, pyarrow and polars mean the same wherever a table enters."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import loguniform
from sklearn.svm import SVC

from lookahead_sk import ConstrainedSearchCV, LookaheadRouter, TwoStepConstrainedBO
from lookahead_sk.baselines import KNNRouter
from lookahead_sk.inspection import RoutingConfusionDisplay, RoutingCurveDisplay
from lookahead_sk.metrics import cost_quality_curve, oracle_gain_score, routing_score
from lookahead_sk.model_selection import cross_val_quality

NAMES = ["a", "b", "c"]
TURNED = ["c", "a", "b"]
rng = np.random.RandomState(0)
X = rng.randn(60, 4)
Y = pd.DataFrame(rng.rand(60, 3), columns=NAMES)
GAPS = Y.mask(rng.rand(60, 3) < 0.3).assign(a=Y["a"])
LENGTHS = (1000 * Y).round()
TEXTS = pd.DataFrame([[f"r {i % 9} {k}" for k in range(3)] for i in range(60)], columns=NAMES)
PROMPTS = [f"prompt {i % 7} {'a' * (i % 5)}" for i in range(60)]
CHOSEN, GROUPS, WEIGHTS = TURNED * 20, list("gh" * 30), rng.rand(60)


class Encoder:
    """Counts characters."""

    def encode(self, texts):
        return np.log1p([[len(t), t.count("a"), sum(map(ord, t)) % 7] for t in texts])


class Nullable:
    """pandas' nullable columns."""

    def frame(self, frame):
        return frame.convert_dtypes()

    def column(self, values):
        return pd.Series(values).convert_dtypes()


class ArrowInPandas:
    """pandas on pyarrow."""

    def __init__(self):
        pytest.importorskip("pyarrow")

    def frame(self, frame):
        return frame.convert_dtypes(dtype_backend="pyarrow")

    def column(self, values):
        return pd.Series(values).convert_dtypes(dtype_backend="pyarrow")


class Arrow:
    """pyarrow itself."""

    def __init__(self):
        self.arrow = pytest.importorskip("pyarrow")

    def frame(self, frame):
        return self.arrow.Table.from_pandas(frame, preserve_index=False)

    def column(self, values):
        return self.arrow.array(values)


class Polars:
    """polars."""

    def __init__(self):
        self.polars = pytest.importorskip("polars")

    def frame(self, frame):
        columns = frame.astype(object).where(frame.notna(), None)
        return self.polars.DataFrame({name: columns[name].tolist() for name in columns})

    def column(self, values):
        return self.polars.Series(values)


@pytest.fixture(params=[Nullable, ArrowInPandas, Arrow, Polars])
def kind(request):
    return request.param()


def made(**parameters):
    options = {"encoder": "passthrough", "max_epochs": 1, "random_state": 0, **parameters}
    return LookaheadRouter(**options)


def quality(scores, X=X, **given):
    return made().fit(X, scores, **given).predict_quality(X)


def test_scores_lengths_and_numbers_are_read(kind):
    scores = kind.frame(GAPS)
    np.testing.assert_array_equal(quality(scores), quality(GAPS))
    assert made().fit(X, scores).classes_.tolist() == NAMES
    numbers = pd.DataFrame(X, columns=list("pqrs"))
    np.testing.assert_array_equal(quality(scores, kind.frame(numbers)), quality(GAPS, numbers))
    seen = {"responses": np.random.RandomState(5).randn(60, 3, 4)}
    expected = quality(GAPS, **seen, response_lengths=LENGTHS)
    for names in (NAMES, TURNED):
        for given in (scores, GAPS):
            lengths = kind.frame(LENGTHS[names])
            got = quality(given, **seen, response_lengths=lengths)
            np.testing.assert_array_equal(got, expected)


def test_prompts_and_responses_are_read(kind):
    def texts(prompts, scores, responses):
        router = LookaheadRouter(encoder=Encoder(), max_epochs=1, random_state=0)
        return router.fit(prompts, scores, responses=responses).predict_quality(prompts)

    some = TEXTS.where(GAPS.notna().to_numpy(), None)
    for responses in (TEXTS, some):
        got = texts(kind.column(PROMPTS), kind.frame(GAPS), kind.frame(responses[TURNED]))
        np.testing.assert_array_equal(got, texts(PROMPTS, GAPS, responses))


@pytest.mark.parametrize("labels", [list("uvw" * 20), [0, 1, 2] * 20, [True, False] * 30])
def test_labels_are_read(kind, labels):
    column = kind.column(labels)
    np.testing.assert_array_equal(quality(column), quality(labels))
    assert made().fit(X, column).score(X, column) == made().fit(X, labels).score(X, labels)


def test_routers_learn_from_and_are_scored_on_tables(kind):
    router = made(costs=kind.column([3.0, 2.0, 1.0])).fit(X, GAPS)
    assert router.predict_cost(X[:1]).tolist() == [[3.0, 2.0, 1.0]]
    got = router.score(X, kind.frame(GAPS[TURNED]), sample_weight=kind.column(WEIGHTS))
    assert got == router.score(X, GAPS, sample_weight=WEIGHTS)
    later = GAPS[["c", "b"]].fillna(0.5)
    one = made().fit(X, GAPS).partial_fit(X, kind.frame(later)).add_model(
        "d", X, kind.column(WEIGHTS)
    )  # fmt: skip
    other = made().fit(X, GAPS).partial_fit(X, later).add_model("d", X, WEIGHTS)
    np.testing.assert_array_equal(one.predict_quality(X), other.predict_quality(X))
    out_of_fold = cross_val_quality(KNNRouter("passthrough"), X, kind.frame(Y), cv=3)
    expected = cross_val_quality(KNNRouter("passthrough"), X, Y, cv=3)
    np.testing.assert_array_equal(out_of_fold, expected)


def test_metrics_and_displays_read_tables(kind):
    scores, chosen = kind.frame(GAPS[TURNED]), kind.column(CHOSEN)
    given = {"groups": GROUPS, "average": "macro", "sample_weight": WEIGHTS}
    columns = {**given, "groups": kind.column(GROUPS), "sample_weight": kind.column(WEIGHTS)}
    assert routing_score(scores, chosen, **columns) == pytest.approx(
        routing_score(GAPS, CHOSEN, **given)
    )
    gain = oracle_gain_score(Y, CHOSEN, best_single="a")
    assert oracle_gain_score(kind.frame(Y[TURNED]), chosen, best_single="a") == pytest.approx(gain)
    prices = pd.DataFrame(np.tile([1.0, 2.0, 4.0], (60, 1)), columns=NAMES)
    predicted = pd.DataFrame(quality(Y), columns=NAMES)
    curve = cost_quality_curve(Y, predicted, [1.0, 2.0, 4.0])
    tables = kind.frame(Y[["b", "a", "c"]]), kind.frame(predicted[TURNED]), kind.frame(prices)
    np.testing.assert_allclose(cost_quality_curve(*tables).qualities, curve.qualities)
    router = made(costs=[1, 2, 3]).fit(X, Y)
    for display, name in (
        (RoutingCurveDisplay, "model_qualities"),
        (RoutingConfusionDisplay, "confusion_matrix"),
    ):
        one = display.from_estimator(router, X, kind.frame(Y[TURNED]))
        other = display.from_estimator(router, X, Y)
        np.testing.assert_allclose(getattr(one, name), getattr(other, name))


def test_optimisers_read_tables(kind):
    space = {"x": (0.0, 1.0), "k": ["a", None], "n": [1, 2, 3]}
    points = pd.DataFrame({"x": [0.1, 0.2, 0.5], "k": ["a", None, "a"], "n": [1, 2, 3]})
    outputs = pd.DataFrame({"f": [1.0, 2.0, None], "c": [0.0, 1.0, 2.0]})
    optimizer = TwoStepConstrainedBO(space, 1, random_state=0)
    optimizer.tell(kind.frame(points), kind.frame(outputs))
    assert optimizer.X_ == [
        {"x": 0.1, "k": "a", "n": 1}, {"x": 0.2, "k": None, "n": 2}, {"x": 0.5, "k": "a", "n": 3}
    ]  # fmt: skip
    np.testing.assert_array_equal(optimizer.y_, [[1, 0], [2, 1], [np.nan, 2]])
    box = TwoStepConstrainedBO(kind.frame(pd.DataFrame({"low": [0.0, 0.0], "high": [1.0, 2.0]})))
    box.tell(kind.frame(pd.DataFrame({"a": [0.1, 0.2], "b": [1.3, 0.4]})), kind.column([1.0, 2.0]))
    assert box.X_.tolist() == [[0.1, 1.3], [0.2, 0.4]]


def test_results_of_searches_are_read(kind):
    space = {"C": loguniform(1e-2, 1e2), "kernel": ["rbf", "linear"]}
    options = {"cv": 2, "random_state": 0, "acquisition": "eic", "n_initial": 2, "refit": False}
    target = (X[:, 0] > 0).astype(int)
    first = ConstrainedSearchCV(SVC(), space, n_iter=3, **options).fit(X, target)
    table = pd.DataFrame(first.cv_results_)
    second = ConstrainedSearchCV(
        SVC(), space, n_iter=1, initial_results=kind.frame(table), **options
    ).fit(X, target)
    assert second.cv_results_["params"][:3] == first.cv_results_["params"]
    assert len(second.optimizer_.y_) == 4
    again = ConstrainedSearchCV(
        SVC(), space, initial_results=kind.frame(table.drop(columns="params")), **options
    )
    with pytest.raises(ValueError, match="initial_results must be results with a column 'params'"):
        again.fit(X, target)
