"""Routers that charge for a call: utilities, budgets, and certified cost weights."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from lookahead_sk._cost_quality import route, tie_weights
from lookahead_sk._guarantee import certify_cost_weight
from lookahead_sk._scores import read_scores
from lookahead_sk._validation import check_float, reject
from lookahead_sk.routing._base import BaseRouter
from lookahead_sk.routing._costs import read_costs, weight_for_budget
from lookahead_sk.routing._inputs import Floats, check_name, unmasked
from lookahead_sk.routing._novelty import Novelty

_N_WEIGHTS = 50  # cost weights that a certificate tests in turn


class Foretold(NamedTuple):
    """What a router expects of n prompts."""

    quality: Floats  # (n, K)
    lengths: Floats | None  # (n, K), NaN where a model's are not known
    features: npt.NDArray[np.float32]  # (n, p), where prompts are compared with the training


class CostAwareRouter(BaseRouter):
    """Base of routers with prices and a model to fall back on.

    A subclass has the parameters ``costs``, ``cost_weight``, ``cost_unit``, ``fallback`` and
    ``novelty_level``, sets ``novelty_`` in ``fit``, and implements ``_foretell(X)``.
    """

    costs: Any
    cost_weight: float
    cost_unit: str
    fallback: Any
    novelty_level: float
    novelty_: Novelty
    score_range_: tuple[float, float]

    def _foretell(self, X: Any) -> Foretold:
        raise NotImplementedError

    def _predict_quality(self, X: Any) -> Floats:
        return self._foretell(X).quality

    def _costs_of(self, foretold: Foretold) -> Floats:
        quality, lengths = foretold.quality, foretold.lengths
        prices = read_costs(self.costs, self.classes_)
        if self.cost_unit == "call":
            return np.broadcast_to(prices, quality.shape)
        if lengths is None:
            raise ValueError(
                "cost_unit='length' needs a router that was fitted with responses or "
                "response_lengths, and response_weight > 0."
            )
        if np.isnan(lengths).any():
            unknown = self.classes_[np.isnan(lengths).any(axis=0)].tolist()
            raise ValueError(
                f"cost_unit='length' needs response lengths of every model; {unknown} came without."
            )
        return prices * lengths

    def _foretold(self, X: Any) -> Foretold:
        check_is_fitted(self)
        return self._foretell(self._check_X(X, reset=False))

    def _quality_and_costs(self, X: Any) -> tuple[Floats, Floats]:
        foretold = self._foretold(X)
        return foretold.quality, self._costs_of(foretold)

    def _choices(self, X: Any) -> tuple[Floats, Floats]:
        """Quality and costs that `predict` chooses by: novel prompts have but the fallback."""
        foretold = self._foretold(X)
        costs = self._costs_of(foretold)
        if self.fallback is None:
            return foretold.quality, costs
        return self._fall_back(foretold, costs)

    def _novelty_level(self) -> float:
        return check_float(self.novelty_level, "novelty_level", 0, 1)

    def _utilities(self, X: Any) -> Floats:
        quality, costs = self._quality_and_costs(X)
        return quality - self.cost_weight * costs

    def typicality(self, X: Any) -> Floats:
        """Tell how usual prompts are beside the training prompts.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.

        Returns
        -------
        ndarray of shape (n,)
            Conformal p-values: the share of calibration prompts, a random half of the training
            prompts and at most 2,000, that are at least as far from other training prompts. Of
            prompts like those of the training, a share of at most t has a typicality of at most t.

        References
        ----------
        .. [1] Bates, Candes, Lei, Romano and Sesia, "Testing for outliers with conformal p-values",
           Annals of Statistics 51, 2023.
        .. [2] Sun, Ming, Zhu and Li, "Out-of-distribution detection with deep nearest neighbors",
           ICML 2022.
        """
        return self.novelty_.p_values(self._foretold(X).features)

    def is_novel(self, X: Any) -> npt.NDArray[np.bool_]:
        """Flag prompts that are unlike the training prompts.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.

        Returns
        -------
        ndarray of bool of shape (n,)
            Whether `typicality` is at most ``novelty_level``. With ``fallback``, `predict` sends
            these prompts to that model.
        """
        level = self._novelty_level()
        return self.typicality(X) <= level

    def predict_cost(self, X: Any) -> Floats:
        """Expect the cost of calling every model.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.

        Returns
        -------
        ndarray of shape (n, K)
            In the unit of ``costs``: the price of a call, or with ``cost_unit="length"`` the price
            times the foreseen length of the response.

        Raises
        ------
        ValueError
            If ``costs`` do not fit, or the lengths that ``cost_unit`` needs are not foreseen.
        """
        return self._quality_and_costs(X)[1].copy()

    def predict(self, X: Any, budget: float | None = None) -> npt.NDArray[Any]:
        """Choose a model for every prompt.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.
        budget : float, default=None
            Mean expected cost a prompt that these prompts may have together, instead of
            ``cost_weight``: the smallest weight that meets it is taken.

        Returns
        -------
        ndarray of shape (n,)
            The element of ``classes_`` with the largest utility; of equal ones the cheapest. With
            ``fallback``, that model for prompts that `is_novel` flags.

        Raises
        ------
        ValueError
            If the cheapest models cost more than the budget, there are no ``costs``, or lengths
            that ``cost_unit`` needs are not foreseen.
        """
        if budget is not None and self.costs is None:
            reject("costs", "given when there is a budget", None)
        quality, costs = self._choices(X)
        weight = self.cost_weight
        if budget is not None:
            weight = weight_for_budget(quality, costs, budget)
        return self.classes_[route(quality, costs, weight)]

    def _fall_back(self, foretold: Foretold, costs: Floats) -> tuple[Floats, Floats]:
        """Quality and costs with no choice but the fallback for novel prompts."""
        column = fallback_column(self.fallback, self.classes_)
        is_novel = self.novelty_.p_values(foretold.features) <= self._novelty_level()
        quality, costs = foretold.quality.copy(), costs.copy()
        quality[is_novel] = quality[is_novel, column, None]
        costs[is_novel] = costs[is_novel, column, None]
        others = np.ix_(is_novel, np.arange(quality.shape[1]) != column)
        # Worse at the same cost: no cost weight prefers them.
        quality[others] -= np.maximum(1.0, np.abs(quality[others]))
        return quality, costs

    def tune_cost(
        self,
        X: Any,
        y: Any = None,
        budget: float | None = None,
        *,
        reference: Any = None,
        max_loss: float | None = None,
        alpha: float = 0.1,
    ) -> Self:
        """Set ``cost_weight`` to meet a budget, or as high as a limit on the loss certifies.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            Prompts like those to come, which the router was not fitted on.
        y : array-like or DataFrame of shape (n, K), default=None
            Their scores, all observed; only needed with ``max_loss``.
        budget : float, default=None
            Mean expected cost a prompt: the smallest weight that meets it on X is taken.
        reference : label, default=None
            With ``max_loss``: the model that would otherwise always be called.
        max_loss : float, default=None
            Mean score that may be lost against always calling ``reference``.
        alpha : float, default=0.1
            Probability that more may be lost nevertheless.

        Returns
        -------
        LookaheadRouter
            The router itself, with another ``cost_weight``.

        Raises
        ------
        ValueError
            If a parameter does not fit, the budget cannot be met, or no weight can be certified;
            ``cost_weight`` is then what it was.

        Notes
        -----
        The certificate: if the prompts of X are independent draws of those to come, were not seen
        in ``fit``, and scores stay within the range of the training scores, then with probability
        at least ``1 - alpha`` the expected score of a routed prompt is at most ``max_loss`` below
        that of ``reference``. 50 weights, fixed by the predictions alone, are tested in growing
        order, each at level ``alpha``, up to the first that fails [1]_.

        References
        ----------
        .. [1] Angelopoulos, Bates, Candes, Jordan and Lei, "Learn then test", arXiv 2110.01052,
           fixed-sequence testing.
        """
        if (budget is None) == (max_loss is None):
            raise ValueError(
                f"Give either budget or max_loss; got budget={budget}, max_loss={max_loss}."
            )
        if self.costs is None:
            reject("costs", "given to tune their weight", None)
        check_is_fitted(self)
        if budget is not None:
            budget = check_float(budget, "budget")
            self.cost_weight = weight_for_budget(*self._choices(X), budget)
            return self
        limit = check_float(max_loss, "max_loss", low=0)
        alpha = check_float(alpha, "alpha", 0, 1, closed="neither")
        self.cost_weight = self._certified_weight(X, y, reference, limit, alpha)
        return self

    def _certified_weight(
        self, X: Any, y: Any, reference: Any, limit: float, alpha: float
    ) -> float:
        names = self.classes_.tolist()
        if reference not in names:
            reject("reference", f"one of {names}", reference)
        scores, _ = read_scores(unmasked(self._in_order(y)), "y")
        quality, costs = self._choices(X)
        if scores.shape != quality.shape:
            reject("y", f"of shape {quality.shape}", f"shape {scores.shape}")
        if np.isnan(scores).any():
            reject("y", "observed for every prompt and model", "NaN")
        low, high = self.score_range_
        n_outside = int(((scores < low) | (scores > high)).sum())
        if n_outside:
            warnings.warn(
                f"{n_outside} of {scores.size} scores lie outside the training scores' [{low:g}, "
                f"{high:g}] and are clipped: the certificate speaks of clipped scores.",
                stacklevel=3,
            )
            scores = np.clip(scores, low, high)
        ties = np.append(0.0, tie_weights(quality, costs))
        weights = np.unique(np.quantile(ties, np.linspace(0, 1, _N_WEIGHTS))) * (1 + 1e-9)
        column = names.index(reference)
        found = certify_cost_weight(
            scores, quality, costs, column, weights, limit, alpha, self.score_range_
        )
        if found.cost_weight is None:
            raise ValueError(
                f"No cost weight could be certified with max_loss={limit:g}, alpha={alpha:g}: at "
                f"cost_weight=0 the mean loss against {reference!r} on {len(scores)} prompts is "
                f"{found.mean_losses[0]:.4g}, p = {found.p_values[0]:.3g}. Give more prompts, a "
                "larger max_loss, or go on calling the reference."
            )
        return found.cost_weight


def fallback_column(fallback: Any, classes: npt.NDArray[Any]) -> int:
    """Number of the model to fall back on."""
    names = classes.tolist()
    if check_name(fallback, "fallback") not in names:
        reject("fallback", f"None or one of {names}", fallback)
    return names.index(fallback)
