"""Means of several samples: weights by a plain loop, by known variances, and from logs."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lookahead_sk.datasets import average_samples, load_routing


def drawn(counts, t, v, seed=0):
    """Samples (n, 2, s) of cells whose expected scores have variance t, each with variance v."""
    rng = np.random.default_rng(seed)
    shape = (*counts.shape, counts.max())
    samples = np.sqrt(t) * rng.standard_normal(counts.shape)[:, :, None]
    samples = samples + np.sqrt(v) * rng.standard_normal(shape)
    samples[np.arange(shape[2]) >= counts[:, :, None]] = np.nan
    return samples


def test_weights_are_those_of_a_plain_loop():
    counts = np.random.default_rng(1).integers(0, 5, (40, 2))
    samples = drawn(counts, 1.0, 2.0)
    scores, weight = average_samples(samples)
    for k in range(2):
        cells = [[y for y in cell if not np.isnan(y)] for cell in samples[:, k]]
        filled = [cell for cell in cells if cell]
        within = sum(sum((y - np.mean(cell)) ** 2 for y in cell) for cell in filled)
        v = within / sum(len(cell) - 1 for cell in filled)
        spread = np.var([np.mean(cell) for cell in filled], ddof=1)
        t = max(spread - v * np.mean([1 / len(cell) for cell in filled]), 0)
        raw = np.array([1 / (t + v / len(cell)) if cell else np.nan for cell in cells])
        assert_allclose(weight[:, k], raw / np.nanmean(raw))
        assert_allclose(scores[:, k], [np.mean(cell) if cell else np.nan for cell in cells])


@pytest.mark.parametrize(("t", "v"), [(1.0, 4.0), (0.2, 1.0), (3.0, 0.5)])
def test_weights_are_the_inverse_variances_that_the_samples_were_drawn_with(t, v):
    counts = np.tile([[1, 1], [8, 8], [3, 2]], (4000, 1))
    _, weight = average_samples(drawn(counts, t, v))
    expected = (t + v) / (t + v / 8)
    assert_allclose(weight[1] / weight[0], expected, rtol=0.05)


def test_prompts_that_do_not_differ_are_weighted_by_their_numbers():
    samples = [[[0, 1, np.nan, np.nan]] * 2, [[0, 1, 0, 1]] * 2]
    assert_allclose(average_samples(samples)[1], [[2 / 3] * 2, [4 / 3] * 2])


@pytest.mark.parametrize("m", [1, 3])
def test_equal_numbers_are_plain_means(m):
    samples = np.random.default_rng(0).random((20, 3, m))
    scores, weight = average_samples(samples)
    assert_allclose(scores, samples.mean(axis=2))
    assert_allclose(weight, 1.0)


def test_samples_without_noise_all_count_alike():
    scores, weight = average_samples([[[1, 1], [0, np.nan]], [[0, np.nan], [1, 1]]])
    assert_array_equal(scores, [[1, 0], [0, 1]])
    assert_array_equal(weight, 1.0)


def test_a_model_without_samples_has_no_weights():
    samples = np.random.default_rng(0).random((5, 2, 3))
    samples[:, 1] = np.nan
    scores, weight = average_samples(samples)
    assert_allclose(weight[:, 0], 1.0)
    assert np.isnan(scores[:, 1]).all()
    assert np.isnan(weight[:, 1]).all()


def test_a_log_gives_the_same():
    counts = np.random.default_rng(2).integers(0, 4, (15, 2)) + np.eye(15, 2, dtype=int)
    samples = drawn(counts, 0.5, 1.0)
    log = [
        {"prompt": f"prompt {i}", "model": f"m{k}", "score": samples[i, k, j]}
        for i, k, j in np.argwhere(~np.isnan(samples)).tolist()
    ]
    unscored = {"prompt": log[0]["prompt"], "model": log[0]["model"], "score": None}
    data = load_routing([*log, unscored], models=["m0", "m1"])
    rows = [int(prompt.split()[1]) for prompt in data.prompts]
    scores, weight = average_samples(samples)
    assert_allclose(data.scores, scores[rows])
    assert_allclose(data.cell_weight, weight[rows])
    assert_array_equal(np.isnan(data.cell_weight), np.isnan(data.scores))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((3, 2)), r"samples must be of shape \(n, K, s\); got shape \(3, 2\)"),
        (np.full((3, 2, 1), np.inf), "samples must be finite"),
    ],
)
def test_wrong_samples_are_refused(samples, message):
    with pytest.raises(ValueError, match=message):
        average_samples(samples)
