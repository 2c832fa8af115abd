"""Points, choices and states of an optimiser after logs, tables, files and other threads' torch."""

import copy
import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from _fuzzing import cases
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, loguniform, randint, rv_discrete, uniform

from lookahead_sk import TwoStepConstrainedBO
from lookahead_sk.model_selection._results_file import append_rows, check_writable, read_file
from lookahead_sk.model_selection._warm_start import read_results
from lookahead_sk.optimization._choices import choice_as_json, choice_from_json
from lookahead_sk.optimization._space import make_space

pytestmark = pytest.mark.filterwarnings("ignore:Every point of the search space")
FAST = {"n_fantasies": 4, "n_restarts": 1, "max_iter": 1, "random_state": 0}

LEAF = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.text("ab ", max_size=2),
    st.sampled_from([0.1 + 0.2, 1e-12, -0.0, 0.1, 2.5, 1e300, "nan", "None", "True", "1", "0.3"]),
)  # fmt: skip
CHOICE = st.one_of(LEAF, st.lists(LEAF, max_size=3).map(tuple), st.lists(LEAF, max_size=2))


@st.composite
def lattices(draw):
    """Values that are told apart, each with a probability."""
    number = st.integers(-(10**6), 10**6) | st.floats(-1e3, 1e3).map(lambda v: round(v, 4))
    values = draw(st.lists(number, min_size=1, max_size=9, unique=True))
    weights = np.array(draw(st.lists(st.floats(0.01, 1), min_size=9, max_size=9)))[: len(values)]
    return rv_discrete(values=(values, weights / weights.sum()))


@st.composite
def entries(draw):
    kind = draw(st.sampled_from(["box", "uniform", "log", "int", "shifted", "binom", "rv", "list"]))
    if kind == "box":
        low = draw(st.floats(-1e3, 1e3))
        return (low, low + draw(st.floats(1e-2, 1e6)))
    if kind == "uniform":
        return uniform(draw(st.floats(-1e3, 1e3)), draw(st.floats(1e-3, 1e3)))
    if kind == "log":
        low = draw(st.floats(1e-9, 1.0))
        return loguniform(low, low * draw(st.floats(1.5, 1e9)))
    if kind == "int":
        low = draw(st.integers(-(10**9), 10**9))
        return randint(low, low + draw(st.integers(1, 10**9)))
    if kind == "shifted":
        return randint(0, draw(st.integers(1, 40)), loc=draw(st.sampled_from([0.5, -0.25, 3])))
    if kind == "binom":
        return binom(draw(st.integers(1, 60)), draw(st.floats(0.05, 0.95)))
    if kind == "rv":
        return draw(lattices())
    return draw(st.lists(CHOICE, min_size=1, max_size=5))


@st.composite
def spaces(draw):
    found = draw(st.lists(entries(), min_size=1, max_size=4))
    return {f"v{i}": entry for i, entry in enumerate(found)}


def points_of(space, seed, n=6):
    rng = np.random.default_rng(seed)
    return space.decode(space.snap(rng.random((n, space.n_unit))))


def numpyish(value):
    """A value as NumPy's arrays give it."""
    for kind, to in ((bool, np.bool_), (int, np.int64), (float, np.float64), (str, np.str_)):
        if type(value) is kind:
            return to(value)
    if isinstance(value, tuple):
        return tuple(numpyish(part) for part in value)
    return value


@given(bounds=spaces(), seed=st.integers(0, 99))
@cases(60, 2500)
def test_points_are_the_same_after_json_numpy_and_twice(bounds, seed):
    space = make_space(bounds)
    points = points_of(space, seed)
    unit = space.encode(points)
    np.testing.assert_allclose(space.snap(unit), unit, atol=1e-9)
    ways = (
        [{k: choice_from_json(json.loads(json.dumps(choice_as_json(v)))) for k, v in p.items()}
         for p in points],
        [{k: numpyish(v) for k, v in p.items()} for p in points],
        [{k: v * (1 + 2e-16) if type(v) is float else v for k, v in p.items()} for p in points],
        [dict(reversed(p.items())) for p in points],
        pd.DataFrame({k: pd.Series([p[k] for p in points], dtype=object) for k in points[0]}),
    )  # fmt: skip
    assert repr(space.canonical(points)) == repr(points)
    for told in ways:
        np.testing.assert_allclose(space.encode(told), unit, atol=1e-9)
        back = space.canonical(told)
        assert [list(map(type, p.values())) for p in back] == [
            list(map(type, p.values())) for p in points
        ]


def is_plain(bounds):
    """Whether a table of such choices keeps them apart: numbers are not text, nor the reverse."""
    return all(
        not isinstance(entry, list) or {type(c) for c in entry} in ({str}, {int}, {float}, {bool})
        for entry in bounds.values()
    )


@given(bounds=spaces().filter(is_plain), seed=st.integers(0, 99))
@cases(30, 1000)
def test_points_are_the_same_after_frames_that_choose_their_types(bounds, seed):
    space = make_space(bounds)
    points = points_of(space, seed)
    unit = space.encode(points)
    frame = pd.DataFrame(points)
    tables = [frame, frame.convert_dtypes()]
    for table in tables:
        np.testing.assert_allclose(space.encode(table), unit, atol=1e-9)
    optimizer = TwoStepConstrainedBO(bounds, **FAST).add_pending(points)
    optimizer.tell(tables[1], np.arange(float(len(points))))
    assert len(optimizer.pending_) == 0


@given(bounds=spaces(), seed=st.integers(0, 99), place=st.floats(0, 1))
@cases(30, 1000)
def test_a_results_file_that_was_cut_anywhere_holds_whole_candidates(
    tmp_path_factory, bounds, seed, place
):
    space = make_space(bounds)
    try:
        check_writable(space)
    except ValueError as error:
        assert "param_distributions must be made of values of JSON" in str(error)  # noqa: PT017
        return
    points = points_of(space, seed)
    path = tmp_path_factory.mktemp("file") / "results.jsonl"
    rows = [{"params": p, "mean_test_score": float(i)} for i, p in enumerate(points)]
    append_rows(path, rows)
    content = path.read_bytes()
    path.write_bytes(content[: int(place * len(content))])
    n_whole = path.read_bytes().count(b"\n")
    found = read_file(path)
    assert path.read_bytes() == b"".join(content.splitlines(keepends=True)[:n_whole])
    assert (found is None) == (n_whole == 0)
    if found is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # none is outside of the space
            read = read_results(found, space, ["mean_test_score"])
        assert repr(read["params"]) == repr(points[:n_whole])
    append_rows(path, rows[n_whole:])
    assert path.read_bytes() == content


def some_bounds():
    return st.sampled_from(
        [
            {"n": randint(0, 12)},
            {"n": randint(0, 4), "k": ["a", None, (1, 2)]},
            {"v": rv_discrete(values=([16, 32, 64, 128, 256], [0.2] * 5)), "b": [True, False]},
            {"x": (0.0, 1.0), "k": ["a", "b"]},
        ]
    )


def value_of(point):
    return float(sum(len(repr(v)) if not isinstance(v, int | float) else v for v in point.values()))


@given(bounds=some_bounds(), seed=st.integers(0, 20), q=st.integers(1, 3),
       acquisition=st.sampled_from(["eic", "two_step"]))  # fmt: skip
@cases(5, 120)
def test_a_noise_free_point_is_paid_once(bounds, seed, q, acquisition):
    options = {**FAST, "random_state": seed, "acquisition": acquisition, "n_initial": 3}
    optimizer = TwoStepConstrainedBO(bounds, 1, **options)
    n_values = min(make_space(bounds).n_values, 12)
    while len(optimizer.y_) + q <= n_values:
        points = optimizer.ask(q)
        optimizer.tell(points, [[value_of(p), 1.0 - value_of(p)] for p in points])
    told = optimizer.space_.encode(optimizer.X_)
    assert len(np.unique(told.round(9), axis=0)) == len(told)


@given(seed=st.integers(0, 99), d=st.integers(1, 3), n_pending=st.integers(1, 4),
       acquisition=st.sampled_from(["eic", "two_step"]))  # fmt: skip
@cases(4, 80)
def test_pending_points_keep_the_next_away(seed, d, n_pending, acquisition):
    rng = np.random.default_rng(seed)
    X = rng.random((4 + 2 * d, d))
    options = {**FAST, "random_state": seed, "acquisition": acquisition}
    optimizer = TwoStepConstrainedBO([(0, 1)] * d, **options)
    optimizer.tell(X, ((X - 0.4) ** 2).sum(axis=1))
    for _ in range(n_pending):
        before = optimizer.pending_
        point = optimizer.ask()
        away = np.abs(before - point).max(axis=1) if len(before) else np.ones(1)
        assert away.min() > 0.0099


def damaged_by_a_user(value):
    """Change what was handed out in every way that it allows."""
    if isinstance(value, np.ndarray):
        value[...] = np.nan if value.dtype.kind == "f" else 0
    elif isinstance(value, dict):
        for part in list(value.values()):
            damaged_by_a_user(part)
        value.clear()
    elif isinstance(value, list):
        for part in value:
            damaged_by_a_user(part)
        value.clear()


@given(bounds=spaces() | st.just([(0.0, 1.0), (-3.0, 5.0)]), seed=st.integers(0, 99))
@cases(10, 300)
def test_what_is_handed_out_or_in_is_not_the_state(bounds, seed):
    kept = copy.deepcopy(bounds)
    optimizer = TwoStepConstrainedBO(bounds, 1, **{**FAST, "n_initial": 9})
    points = optimizer.ask(4)
    pristine = copy.deepcopy(points)
    outputs = np.random.default_rng(seed).normal(size=(4, 2)) - [0, 3]
    optimizer.tell(points, given := outputs.copy())
    expected = [repr(x) for x in (optimizer.X_, optimizer.y_, optimizer.best_x_)]
    asked = copy.deepcopy(optimizer).ask()
    damaged_by_a_user(points)
    damaged_by_a_user(given)
    for name in ("X_", "y_", "best_x_", "is_feasible_", "pending_"):
        damaged_by_a_user(getattr(optimizer, name))
    assert [repr(x) for x in (optimizer.X_, optimizer.y_, optimizer.best_x_)] == expected
    assert repr(optimizer.X_) == repr(pristine)
    assert repr(optimizer.ask()) == repr(asked)
    if isinstance(bounds, dict):
        assert {k: repr(v) for k, v in bounds.items() if isinstance(v, list)} == {
            k: repr(v) for k, v in kept.items() if isinstance(v, list)
        }


STATES = ("float64", "no_grad", "inference", "float64 without gradients")


@given(state=st.sampled_from(STATES), seed=st.integers(0, 9),
       acquisition=st.sampled_from(["eic", "two_step"]), m=st.integers(0, 1))  # fmt: skip
@cases(4, 60)
def test_the_state_of_torch_changes_no_point(state, seed, acquisition, m):
    X = np.random.default_rng(seed).random((6, 2))
    y = np.stack([((X - 0.4) ** 2).sum(axis=1), X[:, 0] - 0.7], axis=1)[:, : 1 + m]

    def asked():
        options = {**FAST, "random_state": seed, "acquisition": acquisition}
        return TwoStepConstrainedBO([(0, 1)] * 2, m, **options).tell(X, y).ask(2)

    expected = asked()
    try:
        if state.startswith("float64"):
            torch.set_default_dtype(torch.float64)
        with (
            torch.inference_mode(state == "inference"),
            torch.set_grad_enabled("grad" not in state),
        ):
            got = asked()
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_allclose(got, expected, atol=1e-9)
