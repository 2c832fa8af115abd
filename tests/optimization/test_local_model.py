"""The local quadratic model: interpolation, derivatives, and its optimum by the KKT conditions."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, approx_fprime
from sklearn.preprocessing import PolynomialFeatures

from lookahead_sk import TwoStepConstrainedBO
from lookahead_sk.optimization._local_model import Evaluated, LocalModel

CENTRE, NORMAL, LIMIT = np.array([0.8, 0.7]), np.array([1.0, 2.0]), 1.6
CURVATURE = np.array([[3.0, 1.0], [1.0, 2.0]])
FREE = np.array([True, True])


def _quadratic(x):
    """A quadratic of the millions whose free optimum breaks a linear constraint."""
    away = x - CENTRE
    objective = np.einsum("ni,ij,nj->n", away, CURVATURE, away)
    return np.stack([1e6 * objective, x @ NORMAL - LIMIT], axis=1)


def _optimum(slack=0.0):
    inverse = np.linalg.inv(CURVATURE)
    return (
        CENTRE - (NORMAL @ CENTRE - LIMIT + slack) / (NORMAL @ inverse @ NORMAL) * inverse @ NORMAL
    )


def _wavy(x):
    return np.stack([np.sin(9 * x[:, 0]) + x[:, 1] ** 3, np.cos(7 * x[:, 1]) - 2], axis=1)


def _data(n, outputs, *, seed=0, spread=1.0, centre=(0.5, 0.5)):
    unit = np.random.default_rng(seed).random((n, 2)) - 0.5
    unit = np.clip(np.array(centre) + spread * unit, 0, 1)
    y = outputs(unit)
    best = int(np.where(y[:, 1] <= 0, y[:, 0], np.inf).argmin())
    return Evaluated(unit, y, best)


@pytest.mark.parametrize("radius", [1.0, 1e-3])
@pytest.mark.parametrize("n", [2, 4, 6])
def test_it_goes_through_its_points(n, radius):
    data = _data(n, _wavy, spread=radius)
    model = LocalModel.fit(data, radius)
    for unit, y in zip(data.unit, data.outputs, strict=True):
        np.testing.assert_allclose(model.expect(unit), y, rtol=1e-6, atol=1e-9)


def test_a_quadratic_is_known_everywhere_from_as_many_points_as_it_has_coefficients():
    data = _data(8, _quadratic)
    away = np.random.default_rng(1).random((5, 2))
    model = LocalModel.fit(data, 0.1)
    terms = PolynomialFeatures(2)
    by_regression = np.linalg.lstsq(terms.fit_transform(data.unit), data.outputs, rcond=None)[0]
    for unit in away:
        expected = (terms.transform(unit[None]) @ by_regression)[0]
        np.testing.assert_allclose(model.expect(unit), expected, rtol=1e-6, atol=1e-6)


def test_of_the_quadratics_through_few_points_it_has_the_smallest_norm():
    radius = 0.3
    data = _data(4, _wavy)
    model = LocalModel.fit(data, radius)
    z = (np.delete(data.unit, data.best, axis=0) - data.unit[data.best]) / radius
    change = np.delete(data.outputs, data.best, axis=0) - data.outputs[data.best]
    # |H|^2 / (4 eps) = |c|^2 if H_ii = 2 root c_ii and H_ij = sqrt(2) root c_ij
    root = np.sqrt(1e-3)
    terms = np.column_stack([z, root * z**2, root * np.sqrt(2) * z[:, 0] * z[:, 1]])
    smallest = np.linalg.pinv(terms) @ change
    point = np.array([0.4, -0.2])
    features = np.array([*point, *(root * point**2), root * np.sqrt(2) * point.prod()])
    expected = data.outputs[data.best] + features @ smallest
    np.testing.assert_allclose(model.values(point), expected, rtol=1e-7)


def test_slopes_are_central_differences():
    model = LocalModel.fit(_data(8, _wavy), 0.2)
    z = np.array([0.3, -0.4])
    for j in range(2):
        numeric = approx_fprime(z, lambda v, j=j: model.values(v)[j], 1e-6)
        np.testing.assert_allclose(model.slopes(z)[j], numeric, rtol=1e-4, atol=1e-5)


def test_the_optimum_is_that_of_the_conditions_of_karush_kuhn_and_tucker():
    best = _optimum() - [0.004, 0.002]  # slack .008, of which a twentieth is left
    unit = np.concatenate([np.random.default_rng(0).random((8, 2)), best[None]])
    data = Evaluated(unit, _quadratic(unit), 8)
    model = LocalModel.fit(data, 0.1)
    point = model.minimize(FREE, None)
    assert model.promises(point)
    assert _quadratic(point[None])[0, 1] == pytest.approx(-0.05 * 0.008, rel=1e-3)
    np.testing.assert_allclose(point, _optimum(slack=0.05 * 0.008), atol=1e-5)


def test_steps_stay_within_radius_and_box_and_leave_what_is_not_free():
    data = _data(8, lambda x: np.stack([-x.sum(1), x[:, 0] - 9], axis=1), centre=(0.9, 0.9))
    best = data.unit[data.best]
    np.testing.assert_allclose(
        LocalModel.fit(data, 0.01).minimize(FREE, None), np.minimum(best + 0.01, 1), atol=1e-12
    )
    point = LocalModel.fit(data, 1.0).minimize(np.array([False, True]), None)
    np.testing.assert_allclose(point, [best[0], 1.0], atol=1e-12)


def test_without_another_point_there_is_no_model():
    unit = np.array([[0.5, 0.5], [0.5, 0.5], [0.1, 0.1]])
    outputs = np.array([[1.0, -1.0], [1.0, -1.0], [np.nan, np.nan]])
    assert LocalModel.fit(Evaluated(unit, outputs, 0), 1.0) is None


def test_what_the_model_finds_infeasible_or_worse_is_not_promised():
    data = _data(8, _quadratic)
    model = LocalModel.fit(data, 1.0)
    assert not model.promises(CENTRE)  # the free optimum
    assert not model.promises(np.array([0.0, 0.0]))
    assert model.promises(_optimum() - 1e-6)


def test_a_gain_of_rounding_is_no_promise():
    best = _optimum()
    unit = np.concatenate([np.random.default_rng(0).random((8, 2)), best[None]])
    data = Evaluated(unit, _quadratic(unit), 8)
    model = LocalModel.fit(data, 0.1)
    assert not model.promises(model.minimize(FREE, None))


def test_known_constraints_bound_the_step():
    known = LinearConstraint([[1.0, 1.0]], ub=[1.0])
    optimizer = TwoStepConstrainedBO([(0, 1)] * 2, 1, known_constraints=known, random_state=0)
    x = np.random.default_rng(0).random((9, 2)) * 0.6
    optimizer.tell(x, _quadratic(x))
    problem = optimizer._problem()
    point = LocalModel.fit(problem.evaluated, 1.0).minimize(FREE, problem.region)
    assert 0.999 < point.sum() <= 1.0
    free = LocalModel.fit(problem.evaluated, 1.0).minimize(FREE, None)
    assert free.sum() > 1.1


def test_a_badly_scaled_quadratic_is_solved_to_its_last_digits():
    """Of the range 1e6, to 1e-6: below what a Gaussian process can tell apart."""
    optimizer = TwoStepConstrainedBO([(0, 1)] * 2, 1, random_state=0, acquisition="eic")
    best = _quadratic(_optimum()[None])[0, 0]
    while len(optimizer.y_) < 16:
        x = optimizer.ask()
        optimizer.tell(x, _quadratic(x))
    assert 0 <= optimizer.best_y_ - best < 1e-3 * 1e6 * 1e-6


def test_there_is_no_local_step_under_noise():
    optimizer = TwoStepConstrainedBO([(0, 1)] * 2, 1, random_state=0, noise="noisy")
    x = np.random.default_rng(0).random((20, 2))
    y = _quadratic(x) + np.random.default_rng(1).normal(size=(20, 2)) * [1e5, 0.1]
    optimizer.tell(x, y)
    assert optimizer._problem().evaluated is None
    assert replace(optimizer._problem(), evaluated=None).known is None
