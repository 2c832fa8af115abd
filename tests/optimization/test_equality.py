"""Points and choices are the same after logs, tables, JSON, NumPy and rounding."""

import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, loguniform, randint, rv_discrete, uniform

from lookahead_sk import TwoStepConstrainedBO
from lookahead_sk.optimization._choices import choice_as_json, choice_from_json, distinct
from lookahead_sk.optimization._space import make_space


@pytest.mark.parametrize(
    ("choices", "told", "meant"),
    [
        ([True, False], np.bool_(False), False),
        (["a", "b"], np.str_("b"), "b"),
        ([None, 1, 2], np.nan, None),
        ([None, "x"], pd.NA, None),
        ([0.1, 0.2, 0.3], 0.1 + 0.2, 0.3),
        ([1, 2], np.float64(2.0), 2),
        ([(1, 2), (3,)], [1, 2], (1, 2)),
        ([Decimal("0.1"), Decimal("0.3")], 0.1 + 0.2, Decimal("0.3")),
        ([(0.1, 0.3), None], [0.1, 0.1 + 0.2], (0.1, 0.3)),
        ([[1, 2], [3]], (3,), [3]),
        ([{"a": (1, 2)}, {}], {"a": [1, 2]}, {"a": (1, 2)}),
        ([True, 1], 1, 1),
        ([(1, 2), [1, 2]], [1, 2], [1, 2]),
        ([np.dtype("float32"), None], np.dtype("float32"), np.dtype("float32")),
    ],
)
def test_a_choice_is_told_as_logs_and_tables_write_it(choices, told, meant):
    optimizer = TwoStepConstrainedBO({"v": choices}, random_state=0).tell([{"v": told}], [1.0])
    got = optimizer.best_x_["v"]
    assert got == meant
    assert type(got) is type(meant)


def test_arrays_are_choices():
    choices = [np.array([1.0, 2.0]), np.array([3.0]), None]
    optimizer = TwoStepConstrainedBO({"v": choices}, random_state=0, n_initial=3)
    optimizer.tell([{"v": [1.0, 2.0]}, {"v": np.array([3.0])}], [1.0, 2.0])
    assert optimizer.ask()[0]["v"] is None
    np.testing.assert_array_equal(optimizer.best_x_["v"], choices[0])


@pytest.mark.parametrize("wrong", ["1", 3, (1, 2, 3), True, "A"])
def test_other_choices_are_refused(wrong):
    space = make_space({"v": [1, 2, "a", (1, 2)]})
    with pytest.raises(ValueError, match="must be one of 1, 2, 'a'"):
        space.encode([{"v": wrong}])


plain = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.text("ab", max_size=2), st.floats(width=16)
)
nested = st.recursive(
    plain, lambda c: st.one_of(st.lists(c, max_size=3), st.lists(c, max_size=3).map(tuple))
)


@settings(max_examples=200, deadline=None)
@given(st.lists(nested, min_size=1, max_size=6))
def test_every_choice_survives_json_and_decoding(choices):
    choices = distinct(choices)
    space = make_space({"v": list(choices)})
    unit = space.all_points()
    points = space.decode(unit)
    written = json.loads(json.dumps([choice_as_json(p["v"]) for p in points]))
    read = [{"v": choice_from_json(v)} for v in written]
    np.testing.assert_array_equal(space.encode(read), unit)
    assert repr(space.canonical(read)) == repr(points)


@pytest.mark.parametrize(
    "space",
    [
        [(0.0, 6.0), (-1e-3, 1e3)],
        {"a": loguniform(1e-6, 1e3), "b": uniform(-3, 7)},
        {"a": (1e-9, 3e7), "n": randint(0, 30), "k": ["u", ("v", 1), None]},
    ],
)
@pytest.mark.parametrize("digits", [17, 4])
def test_resuming_from_a_log_does_not_repeat_the_design(space, digits):
    first = TwoStepConstrainedBO(space, random_state=0, n_initial=12)
    asked = first.ask(6)
    if isinstance(space, dict):
        told = [
            {k: float(f"{v:.{digits}g}") if isinstance(v, float) else v for k, v in p.items()}
            for p in asked
        ]
    else:
        told = [[float(f"{v:.{digits}g}") for v in row] for row in asked]
    second = TwoStepConstrainedBO(space, random_state=0, n_initial=12).tell(told, np.arange(6.0))
    unit = first.space_.encode(
        np.asarray(second.ask(6))
        if second.space_.names is None
        else second.pending_ or second.ask(6)
    )
    away = np.abs(unit[:, None] - first.space_.encode(asked)[None]).max(-1)
    assert away.min() > 2e-3


@pytest.mark.parametrize(
    ("space", "rounded"),
    [
        ([(0.0, 1.0)] * 2, lambda X: np.round(X, 2)),
        ([(0.0, 1.0)] * 2, lambda X: np.round(X, 1)),
        ([(0.0, 6.0)] * 2, np.round),
        ([(0.0, 6.0)] * 2, lambda X: np.round(4 * X) / 4),
        ([(0.0, 3000.0)] * 2, lambda X: np.round(X, -2)),
        ({"a": loguniform(1e-5, 1)}, lambda X: [{"a": float(f"{p['a']:.1g}")} for p in X]),
        (
            {"a": (0.0, 10.0), "k": ["u", "v"]},
            lambda X: [{**p, "a": float(round(p["a"]))} for p in X],
        ),
    ],
)
def test_a_rounded_point_is_no_longer_pending(space, rounded):
    optimizer = TwoStepConstrainedBO(space, random_state=0)
    for _ in range(5):
        X = optimizer.ask()
        optimizer.tell(rounded(X), [1.0])
        assert len(optimizer.pending_) == 0


def test_another_point_leaves_the_pending_ones_alone():
    optimizer = TwoStepConstrainedBO({"a": (0.0, 1.0), "n": randint(0, 9)}, random_state=0)
    optimizer.add_pending([{"a": 0.5, "n": 3}, {"a": 0.9, "n": 4}])
    optimizer.tell([{"a": 0.5, "n": 4}, {"a": 0.7, "n": 3}], [1.0, 2.0])
    assert len(optimizer.pending_) == 2


@pytest.mark.parametrize(
    ("space", "told", "meant"),
    [
        ({"n": randint(0, 50)}, {"n": 31.0}, {"n": 31}),
        ({"n": randint(0, 50)}, {"n": np.int64(31)}, {"n": 31}),
        ({"n": rv_discrete(values=([16, 32], [0.5, 0.5]))}, {"n": 32.0}, {"n": 32}),
        ({"n": rv_discrete(values=([0.1, 0.3], [0.5, 0.5]))}, {"n": 0.1 + 0.2}, {"n": 0.3}),
        ({"x": (0, 1)}, {"x": 1}, {"x": 1.0}),
        ({"x": (0, 1)}, {"x": np.float32(0.5)}, {"x": 0.5}),
        ({"x": (0, 1)}, {"x": 1 + 1e-10}, {"x": 1.0}),
    ],
)
def test_the_best_point_is_written_as_ask_would(space, told, meant):
    optimizer = TwoStepConstrainedBO(space, random_state=0).tell([told], [1.0])
    assert repr(optimizer.best_x_) == repr(meant)
    assert repr(optimizer.X_) == repr([meant])


def test_a_box_keeps_its_points_inside():
    optimizer = TwoStepConstrainedBO([(0.0, 1.0)], random_state=0).tell([[1 + 1e-10]], [1.0])
    assert optimizer.best_x_.tolist() == [1.0]


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        (loguniform(1e-12, 1), 1e-12 * (1 - 1e-12), 5e-13),
        (loguniform(1e-12, 1), 1 + 1e-12, 0.0),
        ((1e-9, 1.0), 1e-9, 0.0),
        (uniform(0, 1), -1e-12, -1e-6),
    ],
)
def test_slack_is_relative(entry, inside, outside):
    space = make_space({"v": entry})
    space.encode([{"v": inside}])
    with pytest.raises(ValueError, match="inside"):
        space.encode([{"v": outside}])


@pytest.mark.parametrize(
    ("distribution", "values"),
    [
        (rv_discrete(values=([16, 32, 64, 128], [0.25] * 4)), [16, 32, 64, 128]),
        (rv_discrete(values=([16, 32, 64, 128], [0.25] * 4))(), [16, 32, 64, 128]),
        (rv_discrete(values=([0.5, 2.5, 3.0], [0.2, 0.3, 0.5])), [0.5, 2.5, 3.0]),
        (rv_discrete(values=([3, 1, 2], [0.5, 0.5, 0.0])), [1, 3]),
        (rv_discrete(values=([1, 2, 4], [0.3, 0.3, 0.4]))(loc=0.5), [1.5, 2.5, 4.5]),
        (randint(0, 4, loc=0.5), [0.5, 1.5, 2.5, 3.5]),
        (randint(2, 5), [2, 3, 4]),
        (binom(4, 0.5), [0, 1, 2, 3, 4]),
    ],
)
def test_a_discrete_distribution_gives_its_own_values(distribution, values):
    space = make_space({"v": distribution})
    decoded = [p["v"] for p in space.decode(space.all_points())]
    assert repr(decoded) == repr(values)
    some = space.decode(np.random.default_rng(0).random((4000, 1)))
    share = [np.mean([p["v"] == v for p in some]) for v in values]
    frozen = distribution if hasattr(distribution, "dist") else distribution()
    wanted = [frozen.cdf(v) - frozen.cdf(v - 0.4) for v in values]
    np.testing.assert_allclose(share, wanted, atol=0.04)
    np.testing.assert_allclose(space.encode(space.decode(space.all_points())), space.all_points())
    with pytest.raises(ValueError, match=r"X\['v'\] must be"):
        space.encode([{"v": values[0] + 0.25}])
    optimizer = TwoStepConstrainedBO({"v": distribution}, random_state=0, acquisition="eic")
    optimizer.tell([{"v": values[0]}], [1.0])
    assert optimizer.ask()[0]["v"] in values


def test_values_that_are_next_to_impossible_are_told_apart():
    space = make_space({"v": binom(60, 0.5)})
    points = space.decode(space.all_points())
    assert [p["v"] for p in points] == list(range(61))
    np.testing.assert_array_equal(space.encode(points), space.all_points())
    assert np.diff(space.all_points()[:, 0]).min() > 1e-6


@pytest.mark.parametrize(
    ("bounds", "kind", "message"),
    [
        ({"n": randint(5, 1)}, ValueError, r"bounds\['n'\] .*legal; got randint\(5, 1\)"),
        ({"n": randint}, TypeError, "a frozen distribution"),
        ({"x": uniform(1, -1)}, ValueError, r"legal; got uniform\(1, -1\)"),
        ({"x": uniform([0, 1], 1)}, ValueError, r"a distribution of one number; got ends \[0"),
        ({"n": randint(0, 2**60)}, ValueError, "of integers of at most 9007199254740992"),
        ({"x": (1, 1)}, ValueError, "low=1, high=1 for dimension 'x'. In a mapping a constant"),
        ({0: (0, 1)}, TypeError, "bounds must be a mapping with names that are strings; got 0"),
        ({"n": binom(10**7, 0.5)}, ValueError, "at most 1048576 values"),
        ({"k": [f"{i}" for i in range(1000)]}, ValueError, "at most 250 .*got 1000.*randint"),
        (
            {f"k{i}": [f"{j}" for j in range(60)] for i in range(5)},
            ValueError,
            "bounds must be lists of at most 250 choices together; got 300",
        ),
    ],
)
def test_a_space_that_makes_no_sense_says_what_is_wrong(bounds, kind, message):
    with pytest.raises(kind, match=message):
        make_space(bounds)


def test_tables_and_series_as_points():
    space = {"x": (0.0, 1.0), "k": ["a", None]}
    table = pd.DataFrame({"x": [0.1, 0.2], "k": ["a", None]})
    optimizer = TwoStepConstrainedBO(space, random_state=0).tell(table, [1.0, 2.0])
    assert optimizer.X_ == [{"x": 0.1, "k": "a"}, {"x": 0.2, "k": None}]
    optimizer.tell([table.iloc[0]], [1.0])
    assert len(optimizer.X_) == 3
    for single in (table.iloc[0], {"x": 0.1, "k": "a"}):
        with pytest.raises(TypeError, match=r"X must be a list of dicts.*told as \[point\]"):
            optimizer.tell(single, [1.0])
