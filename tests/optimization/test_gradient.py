"""Every estimator against central differences of an independently computed value."""

import numpy as np
import pytest
import torch

from lookahead_sk.optimization._acquisition import two_step_samples
from lookahead_sk.optimization._gradient import likelihood_ratio, pathwise, stratified
from lookahead_sk.optimization._normal import sobol_normal, sobol_uniform
from lookahead_sk.optimization._posterior import moments

SEEDS = range(5)
SHAPES = [(1, 1), (2, 1), (1, 2), (2, 2)]  # (m, q)
STEP = 2e-3
CANDIDATES = sobol_uniform(16, 2, seed=9)
_cache = {}


def _setting(make_case, m, q, seed):
    """A data set, a batch, a direction, and the value's slope along it with its error."""
    key = (m, q, seed)
    if key not in _cache:
        case = make_case(m=m, seed=100 + seed)
        rng = np.random.default_rng([m, q, seed])
        batch = torch.tensor(rng.uniform(0.05, 0.95, (1, q, 2)))
        direction = torch.tensor(rng.standard_normal((1, q, 2)))
        candidates = moments(case.posterior, CANDIDATES)
        pair = torch.cat([batch + STEP * direction, batch - STEP * direction])
        slopes = []
        for scramble in range(16):  # 16 x 2^13 = 2^17 common random numbers
            normals = sobol_normal(2**13, (1 + m) * q, 50 + scramble).reshape(-1, 1 + m, q)
            value = two_step_samples(case.posterior, pair, candidates, normals, 0.5).mean(0)
            slopes.append(float(value[0] - value[1]) / (2 * STEP))
        reference = np.mean(slopes), np.std(slopes, ddof=1) / 4
        _cache[key] = case, batch, direction, candidates, reference
    return _cache[key]


def _z_score(estimator, make_case, m, q, seed):
    case, batch, direction, candidates, (slope, slope_error) = _setting(make_case, m, q, seed)
    estimates = []
    for scramble in range(48):
        uniform = sobol_uniform(512, (1 + m) * q, 1000 + scramble).reshape(512, 1 + m, q)
        _, gradient = estimator(case.posterior, batch, candidates, uniform, 0.5)
        estimates.append(float((gradient * direction).sum()))
    error = np.hypot(np.std(estimates, ddof=1) / np.sqrt(48), slope_error)
    return (np.mean(estimates) - slope) / max(error, 1e-9)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("m", "q"), SHAPES)
@pytest.mark.parametrize("estimator", [likelihood_ratio, stratified])
def test_the_gradient_is_unbiased(make_case, estimator, m, q, seed):
    assert abs(_z_score(estimator, make_case, m, q, seed)) < 3


def test_the_pathwise_gradient_fails_the_same_test(make_case):
    scores = [abs(_z_score(pathwise, make_case, m, q, seed)) for m, q in SHAPES for seed in SEEDS]
    assert sum(score > 3 for score in scores) >= 10
    assert max(scores) > 50


@pytest.mark.parametrize("estimator", [likelihood_ratio, stratified])
@pytest.mark.parametrize("q", [1, 2])
def test_the_gradient_of_the_chance_of_feasibility_is_unbiased(make_case, estimator, q):
    case = make_case(m=2, seed=31, is_infeasible=True)
    rng = np.random.default_rng(q)
    batch = torch.tensor(rng.uniform(0.1, 0.9, (1, q, 2)))
    direction = torch.tensor(rng.standard_normal((1, q, 2)))
    candidates = moments(case.posterior, CANDIDATES)
    pair = torch.cat([batch + STEP * direction, batch - STEP * direction])
    slopes, estimates = [], []
    for scramble in range(32):
        normals = sobol_normal(2**12, 3 * q, scramble).reshape(-1, 3, q)
        value = two_step_samples(case.posterior, pair, candidates, normals, None).mean(0)
        slopes.append(float(value[0] - value[1]) / (2 * STEP))
        uniform = sobol_uniform(1024, 3 * q, 500 + scramble).reshape(-1, 3, q)
        _, gradient = estimator(case.posterior, batch, candidates, uniform, None)
        estimates.append(float((gradient * direction).sum()))
    error = np.sqrt((np.var(slopes) + np.var(estimates)) / 31)
    assert abs(np.mean(slopes)) > 1e-3
    assert abs(np.mean(slopes) - np.mean(estimates)) < 4 * error


def test_the_estimators_agree_on_the_value_itself(make_case):
    case = make_case(m=2, seed=77)
    candidates = moments(case.posterior, CANDIDATES)
    batches = torch.rand(4, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    normals = sobol_normal(2**14, 3, 0).reshape(-1, 3, 1)
    expected = two_step_samples(case.posterior, batches, candidates, normals, 0.5).mean(0)
    uniform = sobol_uniform(2**12, 3, 1).reshape(-1, 3, 1)
    for estimator in (likelihood_ratio, stratified):
        value, _ = estimator(case.posterior, batches, candidates, uniform, 0.5)
        torch.testing.assert_close(value, expected, rtol=5e-3, atol=1e-4)


def test_the_stratified_value_is_continuous_where_the_sampled_one_jumps(make_case):
    case = make_case(m=1, seed=101)
    candidates = moments(case.posterior, CANDIDATES)
    line = torch.linspace(0.2, 0.8, 2001, dtype=torch.float64)
    batches = torch.stack([line, torch.full_like(line, 0.4)], dim=1).unsqueeze(1)
    uniform = sobol_uniform(16, 2, 0).reshape(-1, 2, 1)
    smooth, _ = stratified(case.posterior, batches, candidates, uniform, 0.5)
    normals = torch.special.ndtri(uniform)
    rough = two_step_samples(case.posterior, batches, candidates, normals, 0.5).mean(0)
    assert smooth.diff().abs().max() < 0.2 * rough.diff().abs().max()


def test_a_shift_only_rescales_value_and_gradient(make_case):
    case = make_case(m=1, seed=55)
    candidates = moments(case.posterior, CANDIDATES)
    batches = torch.tensor([[[0.3, 0.4], [0.7, 0.2]]], dtype=torch.float64)
    uniform = sobol_uniform(64, 4, 0).reshape(-1, 2, 2)
    for estimator in (likelihood_ratio, stratified):
        value, gradient = estimator(case.posterior, batches, candidates, uniform, 0.5)
        scaled = estimator(case.posterior, batches, candidates, uniform, 0.5, shift=-3.0)
        torch.testing.assert_close(scaled[0], value * np.exp(3.0))
        torch.testing.assert_close(scaled[1], gradient * np.exp(3.0))
