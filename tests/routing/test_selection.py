"""A local average beside a fine-tuned network: judged on held-out prompts only."""

import numpy as np
import pytest

from lookahead_sk.routing._language_model._fitting import _hold_out
from lookahead_sk.routing._local_average._selection import (
    choose_beside_network,
    choose_blend,
    choose_quality,
    difference_error,
    shows_gain,
)


def problem(n=600):
    """Two groups of prompts, told apart by the space; each has its own best model."""
    rng = np.random.RandomState(0)
    group = rng.randint(2, size=n)
    space = (group[:, None] * 4 + rng.randn(n, 3)).astype(np.float32)
    scores = rng.rand(n, 2) * 0.2
    scores[np.arange(n), group] += 0.5
    return space, scores, np.arange(n) % 4 == 0, group


def test_a_local_average_takes_over_where_they_route_held_out_prompts_better():
    space, scores, held_out, group = problem()
    useless = np.random.RandomState(1).rand(*scores.shape)
    average, blend, quality = choose_beside_network(space, useless, scores, held_out, seed=0)
    assert blend < 1
    assert (quality.argmax(axis=1) == group[held_out]).mean() > 0.9
    assert (average.predict(space).argmax(axis=1) == group).mean() > 0.95


def test_the_local_average_stays_where_both_route_as_well():
    space, scores, held_out, group = problem()
    network = np.eye(2)[group].astype(float)
    _, blend, quality = choose_beside_network(space, network, scores, held_out, seed=0)
    assert blend == 0
    assert (quality.argmax(axis=1) == group[held_out]).mean() > 0.95


def test_a_network_that_routes_better_stands_alone():
    space, scores, held_out, group = problem()
    noise = np.random.RandomState(3).randn(*space.shape).astype(np.float32)
    scale = 1e-3  # so weak beside the average's noise that half of it is drowned
    network = scale * np.eye(2)[group]
    _, blend, quality = choose_beside_network(noise, network, scores, held_out, seed=0)
    assert blend == 1
    np.testing.assert_array_equal(quality, network[held_out])


def test_memorised_training_prompts_do_not_decide():
    """A space that knows the training scores by heart, and nothing of the held-out prompts."""
    _, scores, held_out, _ = problem()
    cheating = np.hstack([scores * 40, np.zeros_like(scores)]).astype(np.float32)
    cheating[held_out] = np.random.RandomState(2).randn(held_out.sum(), 4)
    useless = np.random.RandomState(4).rand(*scores.shape) * 1e-9
    _, _, local = choose_beside_network(cheating, useless, scores, held_out, seed=0)
    weight = np.ones(held_out.sum())
    flat = np.tile(scores[~held_out].mean(axis=0), (held_out.sum(), 1))
    limit = difference_error(flat, scores[held_out], weight)
    assert difference_error(local, scores[held_out], weight) < 1.2 * limit
    network = flat.copy()
    blend = choose_blend(local, network, scores[held_out])
    assert choose_beside_network(
        cheating, np.tile(flat[:1], (len(scores), 1)), scores, held_out, 0
    )[1] == (blend)


def test_the_best_candidates_are_averaged_and_judged_by_the_choice_of_others():
    """Against a choice written out with loops, for every part of the prompts."""
    rng = np.random.RandomState(0)
    scores = rng.rand(200, 3)
    part = rng.randint(4, size=200)
    tables = [(s * scores + (1 - s) * rng.rand(200, 3)) for s in rng.rand(30)]
    candidates = [(None, table) for table in tables]
    average, blend, held_out = choose_quality(candidates, scores, part)
    assert (average, blend) == (None, 1.0)

    def explained(table, rows):
        def spread(values):
            return values[rows] - values[rows].mean(axis=1, keepdims=True)

        flat = np.tile(scores.mean(axis=0), (200, 1))
        error = ((spread(table) - spread(scores)) ** 2).sum()
        return ((spread(flat) - spread(scores)) ** 2).sum() - error

    for number in range(4):
        values = [explained(table, part != number) for table in tables]
        best = [i for i in np.argsort(values)[::-1][:8] if values[i] >= 0.9 * max(values)]
        expected = np.mean([tables[i] for i in best], axis=0)
        np.testing.assert_allclose(held_out[part == number], expected[part == number])


def test_a_gain_over_the_best_single_model_must_show():
    rng = np.random.RandomState(0)
    scores = rng.rand(400, 3) + [0.1, 0, 0]
    assert shows_gain(scores, scores)
    assert not shows_gain(rng.rand(400, 3), scores)
    assert not shows_gain(np.tile(scores.mean(axis=0), (400, 1)), scores)
    few = scores.copy()
    few[15:, 0] = np.nan
    assert shows_gain(rng.rand(400, 3), few)  # too few prompts show both


def test_too_few_held_out_prompts_or_an_unseen_model_leave_the_network_alone():
    space, scores, held_out, _ = problem()
    few = np.arange(len(scores)) < 10
    network = np.zeros_like(scores)
    assert choose_beside_network(space, network, scores, few, 0)[:2] == (None, 1.0)
    unseen = scores.copy()
    unseen[held_out, 1] = np.nan
    assert choose_beside_network(space, network, unseen, held_out, 0)[:2] == (None, 1.0)


@pytest.mark.parametrize(
    ("n", "fraction", "expected"), [(100, 0.2, 20), (2, 0.5, 1), (3, 0.01, 1), (2, 0.01, 1)]
)
def test_a_share_is_held_out_at_least_one_and_never_all(n, fraction, expected):
    assert _hold_out(n, fraction, 0).sum() == expected
