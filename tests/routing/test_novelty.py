"""Conformal p-values: their level by simulation, and what `predict` makes of them."""

import numpy as np
import pytest
from scipy.stats import binom

from lookahead_sk import LookaheadRouter
from lookahead_sk.routing._novelty import N_NEAREST, fit_novelty


def test_p_values_are_the_counts_written_out():
    rng = np.random.default_rng(0)
    novelty = fit_novelty(rng.normal(size=(60, 3)).astype("f4"), 0)
    assert (len(novelty.references), len(novelty.distances)) == (30, 30)
    asked = rng.normal(size=(9, 3)).astype("f4")
    for x, p in zip(asked, novelty.p_values(asked), strict=True):
        x = x / np.linalg.norm(x)
        distances = np.sort(np.linalg.norm(novelty.references - x, axis=1))[:N_NEAREST]
        below = (novelty.distances < distances.mean()).sum()
        assert p == pytest.approx((1 + 30 - below) / 31)


@pytest.mark.parametrize("level", [0.05, 0.2])
def test_no_more_usual_prompts_are_flagged_than_the_level(level):
    # Marginally over fits and prompts; heavy tails and ties are allowed by the theorem.
    n_fits, flagged = 400, 0
    for seed in range(n_fits):
        rng = np.random.default_rng(seed)
        x = rng.standard_t(2, size=(81, 2)).round(1).astype("f4")
        flagged += int(fit_novelty(x[:80], seed).p_values(x[80:])[0] <= level)
    assert flagged <= binom.ppf(0.999, n_fits, level)
    assert flagged > 0


def test_calibration_can_be_prescribed():
    x = np.arange(40, dtype="f4")[:, None]
    is_calibration = np.arange(40) >= 30
    novelty = fit_novelty(x, 0, is_calibration)
    assert len(novelty.references) == 30
    assert len(novelty.distances) == 10


def make(**options):
    rng = np.random.RandomState(0)
    X = rng.randn(300, 4) * [1, 1, 1, 0.02]  # the last axis is hardly used
    y = np.stack([X[:, 0], -X[:, 0], np.full(300, -1.0)], axis=1)
    router = LookaheadRouter(encoder="passthrough", max_epochs=2, random_state=0, **options)
    return router.fit(X, y), X


def test_strange_prompts_go_to_the_fallback_and_no_others():
    router, X = make()
    strange = X[:20] + [0, 0, 0, 50]
    assert router.is_novel(strange).all()
    assert router.is_novel(X[:20] * 0.5).mean() <= 0.1
    assert 2 not in router.predict(strange)
    router.set_params(fallback=2)
    both = np.concatenate([X, strange])
    novel = router.is_novel(both)
    plain = router.set_params(fallback=None).predict(both)
    chosen = router.set_params(fallback=2).predict(both)
    assert (chosen[novel] == 2).all()
    assert (chosen[~novel] == plain[~novel]).all()


def test_the_budget_pays_for_the_fallback_too():
    router, X = make(fallback=2, costs=[1.0, 2.0, 5.0])
    both = np.concatenate([X[:80], X[:20] + [0, 0, 0, 50]])
    price = np.array([1.0, 2.0, 5.0])
    chosen = router.predict(both, budget=2.1)
    assert (chosen[80:] == 2).all()
    assert price[chosen].mean() <= 2.1
    with pytest.raises(ValueError, match="budget must be at least"):
        router.predict(both, budget=1.5)


def test_cost_weights_are_tuned_for_what_predict_does():
    router, X = make(fallback=2, novelty_level=0.3, costs=[1.0, 2.0, 5.0])
    price = np.array([1.0, 2.0, 5.0])
    router.tune_cost(X, budget=2.6)
    assert price[router.predict(X)].mean() <= 2.6
    with pytest.raises(ValueError, match="budget must be at least"):
        router.tune_cost(X, budget=1.2)
    y = np.tile([0.0, 0.0, -1.0], (300, 1))
    before = router.cost_weight
    with pytest.raises(ValueError, match="No cost weight could be certified"):
        router.tune_cost(X, y, reference=0, max_loss=0.01)  # the fallback alone loses more
    assert router.cost_weight == before
    router.set_params(fallback=None).tune_cost(X, y, reference=0, max_loss=0.5)
    with pytest.warns(UserWarning, match="scores lie outside the training scores"):
        router.tune_cost(X, 9 * y, reference=0, max_loss=0.5)


def test_bad_parameters_are_named():
    with pytest.raises(ValueError, match=r"fallback must be None or one of \[0, 1, 2\]; got 7"):
        make(fallback=7)
    with pytest.raises(ValueError, match=r"novelty_level must be a float in \[0, 1\]"):
        make(novelty_level=1.5)
    router, X = make()
    with pytest.raises(ValueError, match="fallback must be None or one of"):
        router.set_params(fallback="x").predict(X)
    for level in (float("nan"), -1, True, "0.1", None):
        with pytest.raises((TypeError, ValueError), match="novelty_level must be a float"):
            router.set_params(fallback=0, novelty_level=level).predict(X)
