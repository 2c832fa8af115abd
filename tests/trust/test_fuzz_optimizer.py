"""Ask and tell in any order against a second, plain account of the protocol; any search space."""

import math
from decimal import Decimal

import numpy as np
import pytest
from _fuzzing import cases
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from scipy.stats import loguniform, randint, uniform

from lookahead_sk import TwoStepConstrainedBO

pytestmark = [
    pytest.mark.filterwarnings("ignore:Every point of the search space"),
    pytest.mark.filterwarnings("ignore:A budget of"),
]
FAST = {"n_fantasies": 4, "n_restarts": 1, "max_iter": 1, "n_initial": 4}
# Of the box: a told point this close to a pending one is that one, rounded; and this close if its
# decimals agree.
SAME, SAME_DECIMALS = 0.025, 0.1
OUTPUT = st.one_of(
    st.floats(-5, 5), st.just(math.nan), st.sampled_from([0.0, 1e-12, -1e12, 1e12, 1e100])
)


def rounds(value, told):
    """Whether a number is another one when it is written with as many decimals."""
    last = Decimal(1).scaleb(Decimal(repr(float(told))).normalize().as_tuple().exponent)
    return abs(Decimal(float(value)) - Decimal(repr(float(told)))) <= last / 2


class Box:
    """Two real variables."""

    bounds = ((-1.0, 3.0), (10.0, 10.5))

    def point(self, a, b):
        return (-1.0 + 4.0 * a, 10.0 + 0.5 * b)

    def distance(self, one, other):
        (a, b), (c, d) = one, other
        return max(abs(a - c) / 4.0, abs(b - d) / 0.5)

    def rounds(self, one, told):
        return all(map(rounds, one, told))

    def plain(self, points):
        return [tuple(row) for row in np.asarray(points).tolist()]

    def given(self, points):
        return np.array(points).reshape(-1, 2)


class Named:
    """A real, an integer and a category."""

    bounds = {"x": (0.0, 1.0), "n": randint(1, 5), "c": ["a", None, math.nan, True, 1]}  # noqa: RUF012

    def point(self, a, b):
        place = min(4, int(5 * b))
        return (a, 1 + min(3, int(4 * b)), place)

    def distance(self, one, other):
        return abs(one[0] - other[0]) if one[1:] == other[1:] else 1.0

    def rounds(self, one, told):
        return rounds(one[0], told[0])

    def plain(self, points):
        return [(p["x"], p["n"], self.place(p["c"])) for p in points]

    def place(self, choice):
        if isinstance(choice, float) and math.isnan(choice):
            return 2
        same = [type(c) is type(choice) and c == choice for c in self.bounds["c"]]
        return same.index(True)

    def given(self, points):
        return [{"x": x, "n": n, "c": self.bounds["c"][place]} for x, n, place in points]


BAD_POINTS = [[[9e9, 9e9]], [[math.nan, 10.1]], "points", [{"x": 0.1}], None, [[0.1]], {"x": [0]}]


class Protocol(RuleBasedStateMachine):
    """The optimiser, and lists of what was told and what is waited for."""

    @initialize(
        space=st.sampled_from([Box(), Named()]),
        m=st.integers(0, 2),
        acquisition=st.sampled_from(["eic", "two_step"]),
        seed=st.integers(0, 99),
        n=st.sampled_from([0, 5]),
        data=st.data(),
    )
    def begin(self, space, m, acquisition, seed, n, data):
        self.space, self.m = space, m
        self.real = TwoStepConstrainedBO(
            space.bounds, m, acquisition=acquisition, random_state=seed, **FAST
        )
        self.told, self.outputs, self.pending = [], [], []
        if n:
            self.tell([space.point(i / n, (2 * i / n) % 1) for i in range(n)], data)

    def settle(self, point):
        if self.pending:
            distances = [self.space.distance(point, other) for other in self.pending]
            near = [i for i, away in enumerate(distances) if away < SAME] or [
                i
                for i, away in enumerate(distances)
                if away < SAME_DECIMALS and self.space.rounds(self.pending[i], point)
            ]
            if near:
                del self.pending[min(near, key=lambda i: distances[i])]

    def tell(self, points, data):
        rows = [
            data.draw(st.lists(OUTPUT, min_size=1 + self.m, max_size=1 + self.m)) for _ in points
        ]
        if self.m == 0 and data.draw(st.booleans()):
            given_rows = [row[0] for row in rows]
        else:
            given_rows = rows
        self.real.tell(self.space.given(points), given_rows)
        for point, row in zip(points, rows, strict=True):
            self.told.append(point)
            self.outputs.append(row)
            self.settle(point)

    def saved(self):
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.json"
            self.real.save(path)
            return path.read_text(), TwoStepConstrainedBO.load(path)

    @precondition(lambda self: len(self.told) + len(self.pending) < 14)
    @rule(n=st.integers(1, 3), is_last=st.booleans())
    def ask(self, n, is_last):
        got = self.real.ask(n, remaining=n if is_last else None)
        points = self.space.plain(got)
        assert len(points) == n
        for point in points:
            assert self.space.distance(point, point) == 0
            assert np.isfinite(np.array(point)).all()
        self.pending += points

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def tell_some_that_were_asked_for(self, data):
        points = data.draw(st.permutations(self.pending))
        self.tell(points[: data.draw(st.integers(1, len(points)))], data)

    @rule(a=st.floats(0, 1), b=st.floats(0, 1), data=st.data())
    def tell_what_was_never_asked_for(self, a, b, data):
        self.tell([self.space.point(a, b)], data)

    @rule(a=st.floats(0, 1), b=st.floats(0, 1))
    def add_pending(self, a, b):
        point = self.space.point(a, b)
        self.real.add_pending(self.space.given([point]))
        self.pending.append(point)

    @rule()
    def forget_pending(self):
        self.real.forget_pending()
        self.pending = []

    @rule()
    def save_and_go_on_with_what_was_loaded(self):
        text, loaded = self.saved()
        if len(self.told) + len(self.pending) < 14:
            twin = self.saved()[1].ask(1)
            assert repr(self.real.ask(1)) == repr(twin)  # to the bit: repr tells floats apart
        self.real = loaded
        assert self.saved()[0] == text

    @rule(X=st.sampled_from(BAD_POINTS), n=st.sampled_from([0, -1, 1.5, "2", True, None]))
    def a_bad_call_changes_nothing(self, X, n):
        before = self.saved()[0]
        good = self.space.given([self.space.point(0.5, 0.5)])

        def row(value):  # a column would be warned of, as scikit-learn does
            return [[value] * (1 + self.m)] if self.m else [value]

        bad_calls = [
            lambda: self.real.tell(X, [[0.0] * (1 + self.m)]),
            lambda: self.real.tell(good, [[0.0] * (3 + self.m)]),
            lambda: self.real.tell(good, [[math.inf] * (1 + self.m)]),
            lambda: self.real.tell(good, [[1e200] * (1 + self.m)]),
            lambda: self.real.tell(good, None),
            lambda: self.real.tell(good, [["a"] * (1 + self.m)]),
            lambda: self.real.add_pending(X),
            lambda: self.real.ask(n if n is not None else 0),
            lambda: self.real.ask(1, remaining=0),
            lambda: self.real.fit(X, row(0.0)),
            lambda: self.real.fit(good, row(math.nan)),
        ]
        for call in bad_calls:
            with pytest.raises((TypeError, ValueError)):
                call()
            assert self.saved()[0] == before

    @rule()
    def other_constraints_are_refused(self):
        if not hasattr(self.real, "space_"):
            return
        before = self.saved()[0]
        self.real.set_params(n_constraints=self.m + 1)
        for call in (
            self.real.ask,
            lambda: self.real.tell(
                self.space.given([self.space.point(0, 0)]), [[0] * (2 + self.m)]
            ),
        ):
            with pytest.raises(ValueError, match="n_constraints must be"):
                call()
        self.real.set_params(n_constraints=self.m)
        assert self.saved()[0] == before

    @invariant()
    def both_accounts_agree(self):
        if not hasattr(self, "real"):
            return
        assert self.space.plain(self.real.X_) == self.told or not self.told
        outputs = np.array(self.outputs, dtype=float).reshape(-1, 1 + self.m)
        np.testing.assert_array_equal(self.real.y_, outputs)
        waiting = self.space.plain(self.real.pending_) if self.pending else []
        assert len(self.real.pending_) == len(self.pending)
        for one, other in zip(waiting, self.pending, strict=True):
            assert self.space.distance(one, other) < 1e-9
        feasible = [
            not any(map(math.isnan, y)) and all(c <= 0 for c in y[1:]) for y in self.outputs
        ]
        assert self.real.is_feasible_.tolist() == feasible
        values = [y[0] for y, ok in zip(self.outputs, feasible, strict=True) if ok]
        if values:
            assert self.real.best_y_ == min(values)
        else:
            assert math.isnan(self.real.best_y_)
            assert self.real.best_x_ is None


def test_the_protocol_of_ask_and_tell():
    run_state_machine_as_test(Protocol, settings=cases(5, 120, stateful_step_count=12))


EDGES = st.floats(-1e12, 1e12, allow_subnormal=False)


@st.composite
def variables(draw):
    """One entry of ``bounds``, and a function that says whether a value is legal."""
    kind = draw(st.sampled_from(["real", "log", "uniform", "integer", "categorical"]))
    if kind in ("real", "uniform"):
        low = draw(EDGES)
        high = low + draw(st.floats(1e-9, 1e9)) * max(1.0, abs(low))
        if kind == "real":
            return (low, high), lambda v: type(v) is float and low <= v <= high
        return uniform(low, high - low), lambda v: low <= v <= low + (high - low) + 1e-9 * abs(high)
    if kind == "log":
        low = 10.0 ** draw(st.floats(-12, 6))
        high = low * 10.0 ** draw(st.floats(0.01, 12))
        return loguniform(low, high), lambda v: low <= v <= high * (1 + 1e-12)
    if kind == "integer":
        low = draw(st.integers(-(10**6), 10**6))
        high = low + draw(st.integers(1, 10**6))
        return randint(low, high), lambda v: type(v) is int and low <= v < high
    choice = st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=2) | st.floats()
    choices = draw(st.lists(choice | st.tuples(choice), min_size=1, max_size=5))
    return choices, lambda v: any(v is c for c in choices)


@st.composite
def spaces(draw):
    entries = draw(st.lists(variables(), min_size=1, max_size=4))
    bounds = {f"v{i}": spec for i, (spec, _) in enumerate(entries)}
    return bounds, [legal for _, legal in entries]


def check_legal(points, legal):
    for point in points:
        for value, is_legal in zip(point.values(), legal, strict=True):
            assert is_legal(value), value


@given(space=spaces(), seed=st.integers(0, 9))
@cases(25, 1500)
def test_designs_of_any_space_are_legal_and_can_be_told(space, seed):
    bounds, legal = space
    optimizer = TwoStepConstrainedBO(bounds, 1, random_state=seed, **FAST)
    points = optimizer.ask(4)
    check_legal(points, legal)
    optimizer.tell(points[::-1], np.full((4, 2), np.nan))
    assert len(optimizer.pending_) == 0
    assert [repr(p) for p in optimizer.X_] == [repr(p) for p in points[::-1]]


@given(space=spaces(), acquisition=st.sampled_from(["eic", "two_step"]), data=st.data())
@cases(2, 60)
def test_searched_points_of_any_space_are_legal_and_can_be_told(space, acquisition, data):
    bounds, legal = space
    optimizer = TwoStepConstrainedBO(bounds, 1, acquisition=acquisition, random_state=0, **FAST)
    points = optimizer.ask(5)
    optimizer.tell(points, data.draw(st.lists(st.tuples(OUTPUT, OUTPUT), min_size=5, max_size=5)))
    points = optimizer.ask(2)
    check_legal(points, legal)
    optimizer.tell(points, [[1.0, -1.0], [2.0, -1.0]])
    assert len(optimizer.pending_) == 0


@given(low=st.floats(allow_nan=False), width=st.floats(0, allow_nan=False))
@example(low=0.0, width=5e-324)
@example(low=-1.7e308, width=1.7e308)
@cases(10, 200)
def test_a_box_of_any_numbers_is_searched_inside_or_refused(low, width):
    high = low + width
    optimizer = TwoStepConstrainedBO([(low, high)], random_state=0, **FAST)
    try:
        X = optimizer.ask(3)
    except ValueError as error:
        assert "bounds must" in str(error)  # noqa: PT017
        return
    assert np.isfinite(X).all()
    assert ((low <= X) & (high >= X)).all()
    optimizer.tell(X, [1.0, 2.0, np.nan])
    assert len(optimizer.pending_) == 0
    assert ((low <= optimizer.ask(2)) & (high >= optimizer.ask(2))).all()
