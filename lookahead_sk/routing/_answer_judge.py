r"""What a written response tells of the scores, beyond what was predicted before it was written.

Predicted descriptors of a response miss the true ones by a surprise; predicted scores miss the true
ones by an error. Over held-out training prompts both were observed, so the best linear prediction
of the errors from the surprises of whichever models have answered is known in closed form:

.. math:: \hat e = C_S^\top (G_{SS} + \lambda I)^{-1} x_S

The penalty is the one of least generalised cross-validation, or no correction at all.

Source: Golub, Heath and Wahba, "Generalized cross-validation as a method for choosing a good ridge
parameter", Technometrics 1979.

==  ========================================================================================
x   (n, p) surprises (true less predicted descriptor) of K models, then agreement of pairs of
    models; standardised, NaN where not observed
e   (n, K) score less the quality that was predicted from the prompt
G   (p, p) second moments of x, over the prompts on which both were observed
C   (p, K) mean of x e, over the same
S   the columns of x that are observed on a prompt
==  ========================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lookahead_sk._typing import BoolArray, Float32Array, FloatArray

PENALTIES = np.logspace(-2.5, 2.5, 16)
_MAX_SHARE = 0.5  # of the prompts that may be spent as degrees of freedom
_CONSTANT = 1e-6  # standard deviations below say nothing


@dataclass(frozen=True)
class AnswerJudge:
    """Moments of surprises and errors, from held-out training prompts.

    Attributes
    ----------
    mean, scale : ndarray of shape (p,)
        Of every surprise; the scale is infinite where it never varies.
    moments : ndarray of shape (p, p)
        G.
    products : ndarray of shape (p, K)
        C.
    counts : ndarray of shape (p, K)
        Prompts that each entry of C is a mean over.
    variances : ndarray of shape (K,)
        Mean squared error of the quality.
    """

    mean: FloatArray
    scale: FloatArray
    moments: FloatArray
    products: FloatArray
    counts: FloatArray
    variances: FloatArray

    def corrections(self, surprises: Float32Array) -> FloatArray:
        """What to add to the quality (n, K), given surprises (n, p); 0 where no model answered."""
        observed = ~np.isnan(surprises) & np.isfinite(self.scale)
        standardised = np.where(observed, (surprises - self.mean) / self.scale, 0.0)
        patterns, pattern = np.unique(observed, axis=0, return_inverse=True)
        found = np.zeros((len(surprises), len(self.variances)))
        for number, columns in enumerate(patterns):
            if columns.any():
                rows = pattern.ravel() == number
                found[rows] = standardised[np.ix_(rows, columns)] @ self._weights(columns)
        return found

    def _weights(self, columns: BoolArray) -> FloatArray:
        """Coefficients (|S|, K) at the best penalty of each model, 0 where none is better."""
        values, axes = np.linalg.eigh(self.moments[np.ix_(columns, columns)])
        values = np.maximum(values, 0.0)  # moments over different prompts may be indefinite
        along = axes.T @ self.products[columns]  # (|S|, K)
        shrunk = along / (values[:, None] + PENALTIES[:, None, None])  # (penalties, |S|, K)
        explained = (2 * along - values[:, None] * shrunk) * shrunk
        rss = np.maximum(self.variances - explained.sum(axis=1), 0.0)
        df = (values / (values + PENALTIES[:, None])).sum(axis=1)[:, None]
        n = np.maximum(self.counts[columns].min(axis=0), 1.0)
        error = np.where(df <= _MAX_SHARE * n, rss / np.maximum(1 - df / n, 0.1) ** 2, np.inf)
        best = error.argmin(axis=0)
        models = np.arange(len(n))
        is_worth = error[best, models] < self.variances
        weights: FloatArray = axes @ shrunk[best, :, models].T
        return np.where(is_worth, weights, 0.0)


def fit_judge(surprises: Float32Array, errors: FloatArray) -> AnswerJudge:
    """Moments of surprises (n, p) and of errors (n, K), both NaN where not observed."""
    x_seen, e_seen = ~np.isnan(surprises), ~np.isnan(errors)
    count = np.maximum(x_seen.sum(axis=0), 1)
    filled = np.where(x_seen, surprises, 0.0).astype(np.float64)
    mean = filled.sum(axis=0) / count
    deviation = np.where(x_seen, filled - mean, 0.0)
    std = np.sqrt((deviation**2).sum(axis=0) / count)
    scale = np.where(std > _CONSTANT, std, np.inf)
    x, e = deviation / scale, np.where(e_seen, errors, 0.0)
    seen = x_seen.astype(np.float64)
    counts = seen.T @ e_seen
    return AnswerJudge(
        mean=mean,
        scale=scale,
        moments=x.T @ x / np.maximum(seen.T @ seen, 1.0),
        products=x.T @ e / np.maximum(counts, 1.0),
        counts=counts,
        variances=(e**2).sum(axis=0) / np.maximum(e_seen.sum(axis=0), 1),
    )


class Answers(NamedTuple):
    """What is known of written answers of K0 models; NaN where one has not answered."""

    own: Float32Array  # (n, K0, r') descriptors
    pairs: Float32Array  # (n, P) agreement of each two models, P = 0 for many

    def of(self, called: BoolArray) -> Answers:
        """The same, of the models (n, K0) called alone."""
        first, second = np.triu_indices(called.shape[1], k=1)
        both = called[:, first] & called[:, second]
        n_measures = self.pairs.shape[1] // max(both.shape[1], 1)
        seen = np.hstack([both] * n_measures) if n_measures else both[:, :0]
        own = np.where(called[..., None], self.own, np.float32(np.nan))
        return Answers(own, np.where(seen, self.pairs, np.float32(np.nan)))

    def surprises(self, latents: Float32Array) -> Float32Array:
        """Surprises (n, p), of latents (n, K0, r) that begin with the predicted descriptors.

        The agreement of a model with all others depends on who has answered: it is not among the
        first r', and that of every pair takes its place.
        """
        missed = self.own - latents[..., : self.own.shape[2]]
        return np.hstack([missed.reshape(len(missed), -1), self.pairs])
