"""What an approach is to the router: how responses are foreseen, and what is shared by all ways.

n prompts, K candidate models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from lookahead_sk.routing._inputs import Floats, ScoreTable
from lookahead_sk.routing._later import View, new_later
from lookahead_sk.routing._settings import Settings

Floats32 = npt.NDArray[np.float32]
Prompts = list[str] | Floats32
Expectations = list[dict[Any, dict[str, Any]]]
RunEpoch = Callable[[Callable[[], bool], Callable[[], dict[str, Any]]], bool]

BLENDS = (0.0, 0.25, 0.5, 0.75, 1.0)


class Given(NamedTuple):
    """What `fit` was given, checked."""

    prompts: Prompts
    table: ScoreTable
    responses: npt.NDArray[Any] | None
    lengths: Floats | None
    seed: int

    @property
    def score_range(self) -> tuple[float, float]:
        """Smallest and largest observed score."""
        return float(np.nanmin(self.table.scores)), float(np.nanmax(self.table.scores))

    def attributes(self, approach: str) -> dict[str, Any]:
        """Fitted attributes that are the same for every approach."""
        return {
            "approach_": approach,
            "classes_": self.table.classes,
            "seed_": self.seed,
            "score_range_": self.score_range,
            "n_prompts_": len(self.prompts),
            "mean_scores_": np.nanmean(self.table.scores, axis=0),
            "later_": new_later(self.table.scores, self.table.is_label),
        }

    def unit_scores(self) -> Floats32:
        """Scores brought to [0, 1], NaN where not observed."""
        low, high = self.score_range
        return ((self.table.scores - low) / max(high - low, 1e-12)).astype(np.float32)


class Approach:
    """A way to foresee responses; the fitted state lies on the router.

    Parameters
    ----------
    router : LookaheadRouter
        Its parameters are read in `observe` and `fit`, its fitted attributes afterwards.
    """

    def __init__(self, router: Any) -> None:
        self.router = router

    def observe(self, given: Given, settings: Settings) -> Any:
        """Check and prepare all that fit needs; changes nothing."""
        raise NotImplementedError

    def fit(self, observed: Any, run_epoch: RunEpoch) -> dict[str, Any]:
        """Train; return all attributes of the fitted router."""
        raise NotImplementedError

    def view(self, X: Prompts) -> View:
        """What the fitted network sees in the prompts."""
        raise NotImplementedError

    def expectations(self, X: Prompts, view: View) -> Expectations:
        """What the models of `fit`, by their numbers, are expected to answer."""
        raise NotImplementedError

    def embed_responses(self, responses: npt.NDArray[Any]) -> Floats32 | None:
        """Responses (n,) or (n, d) on the principal axes (n, c), NaN where None or NaN.

        None where the approach keeps no axes of responses.
        """
        return None


def flat(latents: Floats32) -> Floats32:
    """Latents (n, K * r), model by model."""
    return latents.reshape(len(latents), -1)


def to_units(logits: Floats32, score_range: tuple[float, float]) -> Floats:
    """Quality in the units of the scores."""
    low, high = score_range
    return low + (high - low) * expit(logits.astype(np.float64))


def routed(quality: Floats, scores: Floats) -> Floats:
    """Score of the model that the quality would choose, NaN where not observed."""
    return scores[np.arange(len(scores)), quality.argmax(axis=1)]


def choose_blend(local: Floats, network: Floats, scores: Floats) -> float:
    """Share of the network in the quality, by held-out routed score.

    The mean over kinds is left only for a paired advantage of at least two standard errors.

    Parameters
    ----------
    local, network : ndarray of shape (n, K)
        Held-out quality by kinds and by the network.
    scores : ndarray of shape (n, K)
        True scores, NaN where not observed.

    Returns
    -------
    float
        One of 0, 0.25, 0.5, 0.75 and 1.
    """
    reference = routed(local, scores)
    best, best_gain = 0.0, 0.0
    for blend in BLENDS[1:]:
        gains = routed((1 - blend) * local + blend * network, scores) - reference
        gains = gains[~np.isnan(gains)]
        if len(gains) < 2:
            continue
        gain = float(gains.mean())
        if gain > max(best_gain, 2 * float(gains.std(ddof=1)) / np.sqrt(len(gains))):
            best, best_gain = blend, gain
    return best
