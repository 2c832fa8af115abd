import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import loguniform, norm, randint, uniform

from lookahead_sk.optimization._space import describe_bounds, make_space, restore_bounds

NAMED = {
    "rate": loguniform(1e-4, 1.0),
    "depth": randint(2, 7),
    "kind": ["gini", "entropy", None],
    "share": uniform(0.2, 0.5),
    "x": (-1.0, 3.0),
}


def test_a_box_maps_linearly_to_the_unit_cube():
    space = make_space([(2.0, 4.0), (-1.0, 1.0)])
    np.testing.assert_allclose(space.encode([[2.5, 1.0]]), [[0.25, 1.0]])
    np.testing.assert_allclose(space.decode(np.array([[0.25, 1.0]])), [[2.5, 1.0]])


def test_a_log_uniform_variable_is_searched_on_a_log_scale():
    space = make_space({"C": loguniform(1e-2, 1e2)})
    np.testing.assert_allclose(space.encode([{"C": 1.0}]), [[0.5]])


@given(st.lists(st.floats(0, 1), min_size=7, max_size=7))
def test_every_unit_point_stands_for_a_legal_value_that_maps_back(unit):
    space = make_space(NAMED)
    assert space.n_unit == 7
    snapped = space.snap(np.array([unit]))
    values = space.decode(snapped)
    point = values[0]
    assert 1e-4 <= point["rate"] <= 1.0
    assert point["depth"] in range(2, 7)
    assert point["kind"] in NAMED["kind"]
    assert 0.2 <= point["share"] <= 0.7
    np.testing.assert_allclose(space.encode(values), snapped, atol=1e-9)
    assert space.decode(np.array([unit])) == values  # snapping changes no value


def test_integers_share_the_cube_equally():
    space = make_space({"k": randint(0, 4)})
    values = [p["k"] for p in space.decode(np.linspace(0, 1, 4001)[:, None])]
    np.testing.assert_allclose(np.bincount(values) / 4001, 0.25, atol=1e-3)


def test_bounds_survive_json():
    restored = restore_bounds(describe_bounds(NAMED))
    unit = np.random.default_rng(0).random((20, 7))
    assert make_space(restored).decode(unit) == make_space(NAMED).decode(unit)
    assert restore_bounds(describe_bounds([(0, 1)])) == [[0.0, 1.0]]
    assert restore_bounds(describe_bounds(None)) is None


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"rate": 2.0}, "inside"),
        ({"depth": 7}, "an integer in"),
        ({"depth": 2.5}, "an integer in"),
        ({"kind": "log_loss"}, "one of 'gini', 'entropy', None"),
        ({"x": np.nan}, "inside"),
        ({"y": 1.0}, "keys"),
    ],
)
def test_a_point_outside_a_named_space_is_refused(point, message):
    legal = {"rate": 0.1, "depth": 2, "kind": None, "share": 0.3, "x": 0.0}
    space = make_space(NAMED)
    space.encode([legal])
    with pytest.raises(ValueError, match=message):
        space.encode([{**legal, **point}])


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ([(1.0, 1.0)], "low < high"),
        ([(np.nan, 1.0)], "finite"),
        ([1.0, 2.0], r"shape \(d, 2\)"),
        ({"a": norm(0, 1)}, "bounded support"),
        ({"a": (3, 2)}, "low < high"),
        ({"a": []}, "list of choices"),
        ({"a": 3}, "list of choices"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(bounds, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make_space(bounds)
