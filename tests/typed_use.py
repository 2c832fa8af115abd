"""A user's program under ``mypy --strict``: what is public has types that can be relied on."""

from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

from lookahead_sk import ConstrainedSearchCV, LookaheadRouter, TwoStepConstrainedBO
from lookahead_sk.audit import BandMonitor, RoutingAudit, audit_routing, certify_policy
from lookahead_sk.baselines import KNNRouter
from lookahead_sk.metrics import oracle_gain_score

Floats = npt.NDArray[np.float64]


def route(prompts: list[str], scores: Floats) -> npt.NDArray[Any]:
    """Fit, learn on, choose."""
    router = LookaheadRouter(random_state=0).fit(prompts, scores)
    assert_type(router, LookaheadRouter)
    assert_type(router.partial_fit(prompts, scores), LookaheadRouter)
    assert_type(router.add_model("new", prompts, scores[:, 0]), LookaheadRouter)
    assert_type(router.predict_quality(prompts), Floats)
    assert_type(router.novelty_p_values(prompts), Floats)
    assert_type(router.score(prompts, scores), float)
    assert_type(LookaheadRouter.from_pretrained("folder"), LookaheadRouter)
    KNNRouter().fit(prompts, scores)
    chosen = router.predict_quality(prompts).argmax(axis=1)
    assert_type(oracle_gain_score(scores, chosen, best_single=0), float)
    return router.predict(prompts, budget=1.0)


def sign(chosen: npt.NDArray[Any], scores: Floats, propensities: Floats) -> float:
    """Audit, certify, watch."""
    audit = audit_routing({"router": chosen}, scores, propensities=propensities)
    assert_type(audit, RoutingAudit)
    assert_type(audit.policies["router"].saving.low, float)
    assert_type(BandMonitor(low=0.5).update([1.0]).is_left_, bool)
    return certify_policy(chosen, scores, propensities=propensities).loss


def tune() -> TwoStepConstrainedBO:
    """Ask and tell."""
    optimizer = TwoStepConstrainedBO([(0, 1)], n_constraints=1, random_state=0)
    points = optimizer.ask()
    return optimizer.tell(points, np.hstack([points, -points]))


def search(estimator: Any, X: Floats, y: Floats) -> float:
    """Search under a limit."""
    found = ConstrainedSearchCV(estimator, {"alpha": [0.1, 1.0]}, n_iter=2).fit(X, y)
    return float(found.best_score_)
