"""The bound on the loss and the monitor hold as often as they say; the maths by a second way."""

import numpy as np
import pandas as pd
import pytest

from lookahead_sk.audit import BandMonitor, certify_policy
from lookahead_sk.audit._betting import betting_lower_bound, predictable_bets
from lookahead_sk.audit._certificate import pseudo_outcomes
from lookahead_sk.audit._logged import Logged

# ------------------------------------------------------------------ bounds by betting


def test_the_bound_is_the_root_of_the_wealth_on_a_grid():
    rng = np.random.default_rng(0)
    D = rng.exponential(0.5, size=400) - 0.3
    bets = predictable_bets(D, 0.3, 1.0, 0.05)
    grid = np.linspace(-1, 1, 4001)
    wealth = [max(np.prod(1 + bets[:t] * (D[:t] - v)) for t in range(401)) for v in grid[::40]]
    passed = grid[::40][np.array(wealth) >= 20]
    found = betting_lower_bound(D, 0.3, 0.05)
    assert passed.max() <= found < passed.max() + 0.02
    assert found < D.mean()


def test_bets_do_not_look_ahead():
    rng = np.random.default_rng(0)
    D = rng.random(50)
    changed = D.copy()
    changed[20:] = -0.3
    first, second = (predictable_bets(each, 1.0, 1.0, 0.1)[:21] for each in (D, changed))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_bounds_are_wrong_no_more_often_than_alpha(alpha):
    rng = np.random.default_rng(1)
    n_runs, wrong = 500, 0
    for _ in range(n_runs):
        # Rare and large: what makes a normal interval too narrow.
        D = np.where(rng.random(200) < 0.02, 20.0, 0.0) - 0.4
        wrong += betting_lower_bound(D, 0.4, alpha) > 0.0
    assert wrong / n_runs <= alpha + 4 * np.sqrt(alpha * (1 - alpha) / n_runs)


def test_the_bound_tightens_like_the_square_root_of_n():
    rng = np.random.default_rng(2)
    gaps = [
        np.mean(
            [
                0.1 - betting_lower_bound(rng.normal(0.1, 0.5, n).clip(-2), 2.0, 0.05)
                for _ in range(20)
            ]
        )
        for n in (500, 8000)
    ]
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=0.35)
    assert gaps[1] < 3.0 * 0.5 / np.sqrt(8000)
    assert betting_lower_bound(np.zeros(0), 1.0, 0.05) == -1.0


# ------------------------------------------------------------------ pseudo-outcomes


def a_rule(n=6, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([1, 1, 1], size=n)
    pi = rng.dirichlet([1, 1, 1], size=n)
    return rng, p, pi, rng.random((n, 3)), rng.random((n, 3))


@pytest.mark.parametrize("bound", [0.5, 3.0, 1e9])
def test_pseudo_outcomes_have_the_policys_value_as_their_mean(bound):
    _, p, pi, scores, q = a_rule()
    n = len(p)
    mean = np.zeros(n)
    for a in range(3):  # the mean over the call, written out
        called = np.full(n, a)
        log = logged(called, p)
        xi = pseudo_outcomes(pi, log, scores[:, a], q, bound)
        assert (xi >= -bound - 1e-12).all()
        mean += p[:, a] * xi
    np.testing.assert_allclose(mean, (pi * scores).sum(axis=1))


def test_where_the_log_never_went_a_policy_counts_as_scoring_nothing():
    _, p, pi, scores, q = a_rule()
    p[:, 2] = 0.0
    p /= p.sum(axis=1, keepdims=True)
    mean = sum(
        p[:, a] * pseudo_outcomes(pi, logged(np.full(6, a), p), scores[:, a], q, 3.0)
        for a in range(2)
    )
    np.testing.assert_allclose(mean, (pi * scores)[:, :2].sum(axis=1))


def test_a_large_bound_gives_the_doubly_robust_values():
    from lookahead_sk.audit._estimators import dr_values

    rng, p, pi, scores, q = a_rule(50)
    a = rng.integers(3, size=50)
    log, y = logged(a, p), scores[np.arange(50), a]
    expected = dr_values(pi, log.weights(pi), a, y, q)
    np.testing.assert_allclose(pseudo_outcomes(pi, log, y, q, 1e12), expected)
    np.testing.assert_allclose(pseudo_outcomes(pi, log, y, None, 1.0), log.weights(pi) * y)


def logged(a, p):
    n = len(a)
    own = p[np.arange(n), a]
    empty = np.zeros(n)
    return Logged([0, 1, 2], np.arange(n), a, empty, None, own, p, None, None, n, [])


# ------------------------------------------------------------------ certificates


def a_log(n, seed, change=0.0):
    """Two models, the second better by ``change``; the log calls either, by a rule of x."""
    rng = np.random.default_rng(seed)
    x = rng.random(n)
    chance = np.column_stack([0.6 + 0.2 * x, 0.6 + 0.2 * x + change])
    p = np.column_stack([0.3 + 0.4 * x, 0.7 - 0.4 * x])
    a = (rng.random(n) > p[:, 0]).astype(int)
    scores = np.full((n, 2), np.nan)
    scores[np.arange(n), a] = rng.random(n) < chance[np.arange(n), a]
    return x, chance, p, scores


@pytest.mark.parametrize("knows_all", [True, False])
def test_certificates_are_wrong_no_more_often_than_alpha(knows_all):
    n_runs, alpha, wrong = 300, 0.2, 0
    for seed in range(n_runs):
        _, chance, p, scores = a_log(300, seed, change=-0.1)
        own = p if knows_all else p[np.arange(300), (~np.isnan(scores)).argmax(axis=1)]
        found = certify_policy(1, scores, propensities=own, quality=chance, alpha=alpha)
        truth = np.mean(0.1 * (0.3 + 0.4 * 0.5))  # of the log's rule over x, in expectation
        wrong += found.loss < truth
    assert wrong / n_runs <= alpha + 4 * np.sqrt(alpha * (1 - alpha) / n_runs)


def test_good_predictions_make_the_bound_tighter():
    losses = []
    for seed in range(20):
        _, chance, p, scores = a_log(2000, seed)
        with_quality = certify_policy(1, scores, propensities=p, quality=chance).loss
        losses.append((with_quality, certify_policy(1, scores, propensities=p).loss))
    with_quality, without = np.mean(losses, axis=0)
    assert 0 < with_quality < without < 0.1


def test_a_gain_is_certified_as_a_negative_loss():
    _, chance, p, scores = a_log(8000, 0, change=0.2)
    found = certify_policy(1, scores, propensities=p, quality=chance, reference=0)
    assert -0.2 < found.loss < -0.1
    worse = certify_policy(0, scores, propensities=p, quality=chance, reference=1)
    assert 0.2 < worse.loss < 0.3


def test_groups_share_alpha():
    x, chance, p, scores = a_log(6000, 0, change=-0.1)
    groups = np.where(x < 0.5, "low", "high")
    found = certify_policy(1, scores, propensities=p, quality=chance, groups=groups, alpha=0.1)
    assert set(found.by_group) == {"low", "high"}
    is_low = groups == "low"
    alone = certify_policy(
        1, scores[is_low], propensities=p[is_low], quality=chance[is_low], alpha=0.05
    )
    assert found.by_group["low"] == pytest.approx(alone.loss)
    assert "In low: at most" in str(found)


def test_the_unit_of_the_scores_is_that_of_the_bound():
    _, chance, p, scores = a_log(3000, 0)
    unit = certify_policy(1, scores, propensities=p, quality=chance)
    points = certify_policy(
        1, 100 * scores, propensities=p, quality=100 * chance, score_range=(0, 100)
    )
    assert points.loss == pytest.approx(100 * unit.loss)
    text = str(unit)
    assert text.startswith("With probability 95% the mean score is at most 0.0")
    assert "of traffic (3,000 logged calls" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"propensities": None}, "propensities must be logged; got None"),
        ({"score_range": (0, 0.5)}, r"scores must be within score_range, \[0, 0.5\]; got 1.0"),
        ({"score_range": (1, 0)}, "score_range must be a pair of growing finite numbers"),
        ({"score_range": 1}, "score_range must be a pair of growing finite numbers; got 1"),
        ({"alpha": 0.0}, "alpha must be a float in"),
        ({"max_weight": -1.0}, "max_weight must be a float in"),
        ({"reference": "best"}, r"policies\['reference'\] must be"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    _, _, p, scores = a_log(100, 0)
    with pytest.raises(ValueError, match=message):
        certify_policy(1, scores, **{"propensities": p, **change})


def test_names_choose_the_policy_and_the_reference():
    _, _, p, scores = a_log(500, 0)
    frame = pd.DataFrame(scores, columns=["cheap", "dear"])
    found = certify_policy("cheap", frame, propensities=p, reference="dear")
    assert found.reference == "'dear'"
    assert found.loss == certify_policy(0, scores, propensities=p, reference=1).loss


# ------------------------------------------------------------------ monitor


def test_the_e_value_is_the_mixture_over_all_starts_written_out():
    rng = np.random.default_rng(0)
    values, low, high = rng.random(30), 0.6, 0.7
    monitor = BandMonitor(low, high).update(values)
    bets = [0.02, 0.05, 0.1, 0.2, 0.4, 0.8]
    total = 0.0
    for sign, bound, reach in ((1, low, 1 - low), (-1, high, high)):
        for bet in bets:
            gains = 1 + bet / reach * sign * (bound - values)
            total += sum(np.prod(gains[j:]) / ((j + 1) * (j + 2)) for j in range(30)) + 1 / 31
    assert monitor.e_value_ == pytest.approx(total / 12)
    assert monitor.mean_ == pytest.approx(values.mean())


@pytest.mark.parametrize("alpha", [0.05, 0.25])
def test_alarms_are_no_more_often_false_than_alpha(alpha):
    rng = np.random.default_rng(3)
    n_runs = 100
    false = sum(
        BandMonitor(low=0.7, alpha=alpha).update((rng.random(800) < 0.7).astype(float)).is_left_
        for _ in range(n_runs)
    )
    assert false / n_runs <= alpha + 4 * np.sqrt(alpha * (1 - alpha) / n_runs)


def test_a_change_is_found_after_many_good_calls():
    rng = np.random.default_rng(4)
    monitor = BandMonitor(low=0.7)
    monitor.update((rng.random(5000) < 0.8).astype(float))
    assert not monitor.is_left_
    monitor.update((rng.random(1500) < 0.5).astype(float))
    assert 5000 < monitor.left_at_ < 5400
    monitor.update(np.ones(3000))
    assert monitor.is_left_  # for good


def test_costs_are_watched_from_above():
    rng = np.random.default_rng(5)
    monitor = BandMonitor(high=3.0, value_range=(0, 20))
    assert not monitor.update(rng.choice([1, 10], p=[0.9, 0.1], size=1000)).is_left_
    assert monitor.update(rng.choice([1, 10], p=[0.4, 0.6], size=1000)).is_left_


def test_one_by_one_is_the_same_as_all_at_once():
    values = np.random.default_rng(6).random(100)
    together, single = BandMonitor(low=0.6), BandMonitor(low=0.6)
    together.update(values)
    for value in values:
        single.update(value)
    assert together.e_value_ == single.e_value_


def test_a_refused_update_changes_nothing():
    monitor = BandMonitor(low=0.5).update([1.0, 0.0])
    before = monitor.e_value_, monitor.n_
    for wrong in ([0.5, np.nan], [0.5, 1.5], "a", [[0.5]]):
        with pytest.raises(ValueError, match="values must be"):
            monitor.update(wrong)
    assert (monitor.e_value_, monitor.n_) == before
    assert np.isnan(BandMonitor(low=0.5).mean_)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "low must be given where high is not"),
        ({"low": 2.0}, r"low must be a float in \[0, 1\]"),
        ({"low": 0.6, "high": 0.5}, "low must be not above high"),
        ({"low": 0.6, "value_range": (1, 0)}, "value_range must be a pair of growing"),
        ({"low": 0.6, "alpha": 1.0}, "alpha must be a float in"),
    ],
)
def test_wrong_bands_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BandMonitor(**options)
