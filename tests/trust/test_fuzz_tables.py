"""Named tables, prices and unknown values in any form: one meaning, or an error."""

import copy
from collections import OrderedDict
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from _fuzzing import cases
from hypothesis import assume, given
from hypothesis import strategies as st

from lookahead_sk import LookaheadRouter
from lookahead_sk.metrics import cost_quality_curve, make_cost_scorer, routing_score
from lookahead_sk.metrics._tables import columns_of, read_scores

ROWS = 12
X = np.random.default_rng(0).normal(size=(ROWS, 3))
NAMES = st.one_of(
    st.permutations(["a", "b", "c"]), st.permutations([0, 1, 2]), st.permutations([2, 5, 9]),
    st.just(["", " ", "\u00e9"]), st.just([("a", 1), ("a", 2), ("b", 1)]), st.just(["a", 0, 1.5]),
)  # fmt: skip


def as_arrow(frame):
    return pytest.importorskip("pyarrow").Table.from_pandas(frame, preserve_index=False)


def as_polars(frame):
    columns = frame.astype(object).where(frame.notna(), None)
    return pytest.importorskip("polars").DataFrame({k: columns[k].tolist() for k in columns})


def has(module):
    try:
        __import__(module)
    except ImportError:
        return False
    return True


def as_decimals(frame):
    return frame.map(lambda v: None if np.isnan(v) else Decimal(repr(v))).astype(object)


FORMS = {
    "itself": lambda frame: frame,
    "nullable": lambda frame: frame.astype("Float64"),
    "objects": lambda frame: frame.astype(object).where(frame.notna(), None),
    "na": lambda frame: frame.astype(object).where(frame.notna(), pd.NA),
    "decimals": as_decimals,
    "index": lambda frame: frame.set_axis(range(7, 7 + len(frame))),
}
TEXT_FORMS = {  # these name columns by text alone
    **({"arrow": as_arrow} if has("pyarrow") else {}),
    **({"polars": as_polars} if has("polars") else {}),
}


@st.composite
def forms(draw, names):
    """A function that gives a frame another form: kind, order of columns, further columns."""
    is_text = all(isinstance(name, str) for name in names)
    form = draw(st.sampled_from([*FORMS.values(), *(TEXT_FORMS.values() if is_text else ())]))
    order, more = draw(st.permutations(names)), draw(st.booleans())

    def give(frame):
        frame = frame[list(order)]
        if more:
            other = "other" if is_text else -7
            frame = pd.concat([frame, pd.DataFrame({other: np.ones(len(frame))})], axis=1)
            frame.columns = pd.Index([*order, other], tupleize_cols=False)
        return form(frame)

    return give


def named(values, names):
    return pd.DataFrame(values, columns=pd.Index(names, tupleize_cols=False))


def some_scores(seed, names, share=0.3):
    rng = np.random.default_rng(seed)
    values = rng.random((ROWS, 3))
    hidden = rng.random((ROWS, 3)) < share
    hidden[np.arange(ROWS), rng.integers(3, size=ROWS)] = False
    hidden[0] = False
    return named(np.where(hidden, np.nan, values), names)


def router(**parameters):
    options = {"encoder": "passthrough", "max_epochs": 1, "random_state": 0, **parameters}
    return LookaheadRouter(**options)


FITTED = {}


def fitted(names):
    """A router of three models with these names, fitted once."""
    key = tuple(names)
    if key not in FITTED:
        FITTED[key] = router(costs=[1.0, 2.0, 4.0]).fit(X, some_scores(0, names, 0.0))
    return FITTED[key]


@given(names=NAMES, data=st.data(), seed=st.integers(0, 99))
@cases(40, 2000)
def test_names_decide_in_metrics_and_scores_whatever_the_form_of_a_table(names, data, seed):
    scores = some_scores(seed, names)
    table = data.draw(forms(names))(scores)
    made = fitted(names)
    chosen = made.predict(X).tolist()
    assert made.score(X, table) == made.score(X, scores)
    read, order = read_scores(table, models=names)
    np.testing.assert_array_equal(read, scores.to_numpy())
    assert order == names
    if all(isinstance(name, str) for name in names):  # elsewhere a label might be a tuple
        got = routing_score(table, chosen, models=names)
        assert got == routing_score(scores, chosen)
    assert len(columns_of(table)[names[0]]) == ROWS


@given(names=NAMES, data=st.data(), seed=st.integers(0, 99))
@cases(6, 200)
def test_names_decide_in_fit_whatever_the_form_of_a_table(names, data, seed):
    scores = some_scores(seed, names)
    lengths = 100 * scores.abs().round(3)
    seen = np.random.default_rng(1).normal(size=(ROWS, 3, 2))
    seen[scores.isna().to_numpy()] = np.nan
    expected = router().fit(X, scores, responses=seen, response_lengths=lengths)
    table = data.draw(forms(names))(lengths)
    made = router().fit(X, scores, responses=seen, response_lengths=table)
    assert made.classes_.tolist() == names
    np.testing.assert_array_equal(made.predict_quality(X), expected.predict_quality(X))
    later = some_scores(seed + 1, names)
    given_later = data.draw(st.sampled_from(list(FORMS.values())))(later)
    one = copy.deepcopy(made).partial_fit(X, given_later)
    other = copy.deepcopy(made).partial_fit(X, later)
    np.testing.assert_array_equal(one.predict_quality(X), other.predict_quality(X))


NUMBER = st.one_of(
    st.integers(0, 10**6),
    st.floats(0, 1e9),
    st.fractions(0, 1000).map(lambda f: Fraction(f)),
    st.decimals(0, 1000, places=4),
    st.floats(0, 1000, width=32).map(np.float32),
    st.booleans(),
)
SERIES = {
    "dict": lambda names, prices: dict(zip(names, prices, strict=True)),
    "ordered": lambda names, prices: OrderedDict(zip(names, prices, strict=True)),
    "series": lambda names, prices: pd.Series(
        prices, index=pd.Index(names, tupleize_cols=False), dtype=object
    ),
}
PLAIN = {
    "list": list,
    "tuple": tuple,
    "array": lambda prices: np.array([float(p) for p in prices]),
    "objects": lambda prices: np.array(prices, dtype=object),
    "tensor": lambda prices: torch.tensor([float(p) for p in prices], dtype=torch.float64),
    "numbered": lambda prices: pd.Series(prices, dtype=object),
}


@st.composite
def priced(draw, names):
    """Prices in any form that is accepted, and what they are."""
    prices = draw(st.lists(NUMBER, min_size=3, max_size=3))
    meant = np.array([float(p) for p in prices])
    if draw(st.booleans()):
        pairs = draw(st.permutations(list(zip(names, prices, strict=True))))
        make = draw(st.sampled_from(list(SERIES.values())))
        return make([k for k, _ in pairs], [v for _, v in pairs]), meant
    form = draw(st.sampled_from(list(PLAIN)))
    # A Series without names whose models are its numbers goes by these.
    assume(form != "numbered" or set(names) != {0, 1, 2} or names == [0, 1, 2])
    return PLAIN[form](prices), meant


@given(names=NAMES, data=st.data())
@cases(20, 800)
def test_prices_of_any_form_are_saved_and_read_as_they_were_meant(names, data, tmp_path_factory):
    costs, meant = data.draw(priced(names))
    made = copy.deepcopy(fitted(names)).set_params(costs=costs)
    np.testing.assert_allclose(made.predict_cost(X[:1])[0], meant, rtol=1e-6)
    folder = tmp_path_factory.mktemp("saved") / "router"
    made.save_pretrained(folder)
    loaded = LookaheadRouter.from_pretrained(folder)
    np.testing.assert_allclose(loaded.predict_cost(X[:1])[0], meant, rtol=1e-6)
    np.testing.assert_array_equal(loaded.predict(X), made.predict(X))
    quality = made.predict_quality(X)
    curve = cost_quality_curve(some_scores(0, names, 0.0), named(quality, names), costs)
    assert curve.costs.max() <= meant.max() * (1 + 1e-6)
    if {type(name) for name in names} not in ({int}, {str}):  # scikit-learn's scorers: no others
        return
    cost = make_cost_scorer(costs)(made, X, some_scores(0, names, 0.0))
    assert meant.min() * (1 - 1e-6) <= cost <= meant.max() * (1 + 1e-6)


ODD_PRICE = st.sampled_from(
    [-1e-300, -1.0, np.nan, np.inf, -np.inf, None, pd.NA, "3", "a", b"1", 1j, [1.0], {}, "",
     Decimal("NaN"), Decimal("Infinity"), Decimal(-1), Fraction(-1, 3), np.float32("nan"),
     np.datetime64("2026-01-01"), pd.NaT, np.ma.masked, 10**400]
)  # fmt: skip


@given(names=NAMES, odd=ODD_PRICE, place=st.integers(0, 2), form=st.sampled_from(["dict", "list"]))
@cases(40, 600)
@pytest.mark.filterwarnings("ignore:Warning. converting a masked element:UserWarning")
def test_a_price_that_is_none_is_refused_by_name_and_changes_nothing(names, odd, place, form):
    prices = [1.0, 2.0, 3.0]
    prices[place] = odd
    costs = dict(zip(names, prices, strict=True)) if form == "dict" else prices
    made = copy.deepcopy(fitted(names))
    expected = made.predict(X)
    made.set_params(costs=costs)
    for call in (lambda: made.predict_cost(X), lambda: made.fit(X, some_scores(0, names))):
        with pytest.raises((TypeError, ValueError), match="costs must be"):
            call()
    np.testing.assert_array_equal(made.set_params(costs=[1.0, 2.0, 4.0]).predict(X), expected)


@given(hidden=st.sets(st.integers(0, 2), min_size=1, max_size=3), seed=st.integers(0, 99),
       form=st.sampled_from(list(FORMS)))  # fmt: skip
@cases(8, 200)
def test_what_was_never_observed_is_nan_or_an_error_never_zero(hidden, seed, form):
    names = ["a", "b", "c"]
    rng = np.random.default_rng(seed)
    lengths = named(rng.integers(1, 500, (ROWS, 3)).astype(float), names)
    seen = rng.normal(size=(ROWS, 3, 2))
    for k in hidden:
        lengths[names[k]] = np.nan
        if rng.random() < 0.5 and len(hidden) < 3:
            seen[:, k] = np.nan
    made = router(costs=[1, 2, 3], cost_unit="length")
    made.fit(X, some_scores(seed, names), responses=seen, response_lengths=FORMS[form](lengths))
    for call in (
        lambda: made.predict_cost(X),
        lambda: made.predict(X, budget=1e9),
        lambda: made.tune_cost(X, budget=1e9),
    ):
        with pytest.raises(ValueError, match="lengths"):
            call()
    for entry in made.foresee(X[:2]):
        for k, name in enumerate(names):
            assert (entry[name]["length"] is None) == (k in hidden)
            if np.isnan(seen[:, k]).all():
                assert entry[name]["row"] is None
                assert entry[name]["similarity"] is None
            else:
                assert np.isfinite(entry[name]["similarity"])
