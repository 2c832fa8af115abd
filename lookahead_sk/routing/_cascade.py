"""CascadeRouter: route, look at the answer, call another model where that promises more."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from lookahead_sk._files import (
    SENSELESS,
    check_content,
    parse_json,
    with_checksum,
    write_atomically,
)
from lookahead_sk._typing import BoolArray, FloatArray, IntArray, ObjectArray, Prompts
from lookahead_sk._validation import Words, check_float, check_int, reject
from lookahead_sk.metrics._cost_quality import route
from lookahead_sk.metrics._tables import in_order
from lookahead_sk.routing._base import BaseRouter
from lookahead_sk.routing._checks import check_answers, check_X
from lookahead_sk.routing._costs._certificate import (
    calibration_scores,
    certify_last,
    check_one_goal,
)
from lookahead_sk.routing._costs._chain import (
    Chain,
    fixed_thresholds,
    follow,
    step,
    threshold_for_budget,
)
from lookahead_sk.routing._embedding_router import LookaheadRouter
from lookahead_sk.routing._predictor import Prediction

_FORMAT, _VERSION, _FILE = "lookahead_sk.cascade", 1, "cascade.json"
_KEYS = {"format", "version", "threshold", "max_calls"}


class CascadeResult(NamedTuple):
    """What a cascade did with n prompts.

    ``models`` are those whose answers are kept, ``responses`` these answers, ``n_calls`` how many
    models were called for each prompt, ``called`` which of ``classes_`` (n, K).
    """

    models: npt.NDArray[Any]
    responses: ObjectArray
    n_calls: IntArray
    called: BoolArray


class CascadeRouter(BaseRouter):
    """Call a model, judge its answer, and call another one where that promises more.

    The first call is the router's choice. Then the quality of every model is predicted again, with
    the answer known. If another model promises more than the best answer so far, by more than
    ``threshold`` after its cost, it is called as well. In the end the best answer is kept.

    Parameters
    ----------
    router : LookaheadRouter, default=None
        It is cloned and fitted; None is one with default parameters. Its ``costs``,
        ``cost_weight`` and ``fallback`` count.
    threshold : float, default=0.0
        What a further call must promise, in units of ``y``: less calls more often. It may be
        negative, since an answer that is worse need not be kept. `tune_threshold` sets it.
    max_calls : int, default=2
        Most models that are called for a prompt.

    Attributes
    ----------
    router_ : LookaheadRouter
        The fitted router.
    classes_ : ndarray of shape (K,)
        Names of the models.
    temperature_ : float
        Of `predict_proba`, in the units of ``y``.
    n_features_in_ : int
        Columns of X; only with numeric X.
    feature_names_in_ : ndarray of str
        Their names; only with numeric X in a DataFrame.

    See Also
    --------
    LookaheadRouter : Its ``predict_quality(X, responses=...)`` judges the answers.

    Notes
    -----
    `predict`, `predict_proba` and ``score(X, y)`` speak of the first call, as of any router;
    ``score(X, y, responses=...)`` of the answers that are kept.

    References
    ----------
    .. [1] Chen, Zaharia and Zou, "FrugalGPT: how to use large language models while reducing cost
       and improving performance", arXiv 2305.05176.

    Examples
    --------
    >>> from lookahead_sk import LookaheadRouter
    >>> from lookahead_sk.datasets import make_routing
    >>> from lookahead_sk.routing import CascadeRouter
    >>> data = make_routing(400, random_state=0)
    >>> router = LookaheadRouter(lexical_features=32, costs=data.costs, random_state=0)
    >>> cascade = CascadeRouter(router)
    >>> _ = cascade.fit(data.prompts[:300], data.scores[:300], responses=data.responses[:300])
    >>> new = {prompt: i for i, prompt in enumerate(data.prompts[300:], start=300)}
    >>> result = cascade.run(
    ...     list(new), lambda k, prompts: [data.responses[new[prompt], k] for prompt in prompts]
    ... )
    >>> result.models.shape, int(result.n_calls.max()) <= 2
    ((100,), True)
    """

    router_: LookaheadRouter

    def __init__(self, router: Any = None, *, threshold: float = 0.0, max_calls: int = 2) -> None:
        self.router = router
        self.threshold = threshold
        self.max_calls = max_calls

    @property
    def encoder(self) -> Any:
        """The router's encoder."""
        return getattr(self.router, "encoder", None)

    # ---------------------------------------------------------------- fit

    def fit(self, X: Any, y: Any, responses: Any = None, **fit_params: Any) -> Self:
        """Fit the router.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p)
            The prompts.
        y : array-like or DataFrame of shape (n, K)
            Scores of the models, NaN where not observed.
        responses : array-like of str of shape (n, K), or of numbers (n, K, d), default=None
            What the models answered. Without them answers cannot be judged later.
        **fit_params : object
            More of ``LookaheadRouter.fit``, such as ``response_lengths``.

        Returns
        -------
        self
            The fitted cascade.
        """
        self._settings()
        router = LookaheadRouter() if self.router is None else self.router
        if not isinstance(router, LookaheadRouter):
            reject("router", "a LookaheadRouter or None", router, kind=TypeError)
        self._take(clone(router).fit(X, y, responses=responses, **fit_params))
        return self

    def _take(self, fitted: LookaheadRouter) -> None:
        self.router_ = fitted
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(fitted, name):
                setattr(self, name, getattr(fitted, name))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "router_")

    def _settings(self) -> tuple[float, int]:
        threshold = check_float(self.threshold, "threshold")
        return threshold, check_int(self.max_calls, "max_calls", low=1)

    @property
    def classes_(self) -> npt.NDArray[Any]:  # type: ignore[override]
        """Names (K,) of the models."""
        return self.router_.classes_

    @property
    def temperature_(self) -> float:  # type: ignore[override]
        """Temperature of `predict_proba`, in the units of the scores."""
        return self.router_.temperature_

    # ---------------------------------------------------------------- predict

    def _predict_quality(self, prompts: Prompts) -> FloatArray:
        return self.router_._predict_quality(prompts)

    def _choose(self, X: Any) -> tuple[npt.NDArray[Any], list[Any]]:
        check_is_fitted(self)
        return self.router_._choose(X)

    def _utilities(self, X: Any) -> tuple[FloatArray, float]:
        check_is_fitted(self)
        return self.router_._utilities(X)

    def predict_quality(
        self, X: Any, responses: Any = None, response_lengths: Any = None
    ) -> FloatArray:
        """Predict the score of every model, before or after some have answered.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p)
            The prompts.
        responses, response_lengths : object, default=None
            See ``LookaheadRouter.predict_quality``.

        Returns
        -------
        ndarray of shape (n, K)
            Expected scores in the units of ``y``.
        """
        check_is_fitted(self)
        return self.router_.predict_quality(X, responses, response_lengths)

    def next_call(self, X: Any, responses: Any = None, response_lengths: Any = None) -> ObjectArray:
        """Say which model to call next for every prompt.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p)
            The prompts.
        responses, response_lengths : object, default=None
            The answers so far, see ``LookaheadRouter.predict_quality``; None before the first call.

        Returns
        -------
        ndarray of object of shape (n,)
            One of ``classes_``; None where the best answer so far is to be kept.
        """
        threshold, max_calls = self._settings()
        check_is_fitted(self)
        found = self.router_.predict(X).astype(object)
        if responses is None:
            return found
        judged, called = self._judged(X, responses, response_lengths)
        now = step(judged.quality, self._weighted(judged), called)
        names = judged.classes.astype(object)
        goes_on = (now.gain > threshold) & (called.sum(axis=1) < max_calls)
        later = names[now.following]
        later[~goes_on] = None
        return np.where(called.any(axis=1), later, found)

    def best_answer(self, X: Any, responses: Any, response_lengths: Any = None) -> npt.NDArray[Any]:
        """Say whose answer to keep.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p)
            The prompts.
        responses, response_lengths : object
            The answers, at least one for each prompt; see ``LookaheadRouter.predict_quality``.

        Returns
        -------
        ndarray of shape (n,)
            Of the models that have answered, the one of the highest predicted quality.

        Raises
        ------
        ValueError
            If a prompt has no answer.
        """
        check_is_fitted(self)
        judged, called = self._judged(X, responses, response_lengths)
        if not called.any(axis=1).all():
            row = int(np.argmin(called.any(axis=1)))
            reject("responses", "given by some model for every prompt", Words(f"none in row {row}"))
        return judged.classes[step(judged.quality, self._weighted(judged), called).kept]

    def run(self, X: Any, call: Callable[[Any, list[str]], Sequence[str]]) -> CascadeResult:
        """Answer prompts: call models, judge, call again.

        Parameters
        ----------
        X : sequence of str
            The prompts.
        call : callable
            ``call(model, prompts)`` returns the model's answers to a list of prompts, as texts. It
            is called once for each model in each of at most ``max_calls`` rounds.

        Returns
        -------
        CascadeResult
            Whose answers are kept, the answers, and how many calls were made.
        """
        self._settings()
        check_is_fitted(self)
        prompts = check_X(self, X, reset=False)
        if not isinstance(prompts, list):
            reject("X", "texts, to be sent to models", Words("numbers"))
        names = self.classes_.tolist()
        answers = np.full((len(prompts), len(names)), None, dtype=object)
        following = self.next_call(prompts)
        while any(name is not None for name in following):
            for k, name in enumerate(names):
                rows = [i for i, wanted in enumerate(following) if wanted == name]
                if rows:
                    answers[rows, k] = _answers_of(call, name, [prompts[i] for i in rows])
            following = self.next_call(prompts, answers)
        called = _is_answered(answers)
        models = self.best_answer(prompts, answers)
        column = {name: k for k, name in enumerate(names)}
        kept = answers[np.arange(len(prompts)), [column[name] for name in models.tolist()]]
        return CascadeResult(models, kept, called.sum(axis=1), called)

    def _judged(self, X: Any, responses: Any, lengths: Any) -> tuple[Prediction, BoolArray]:
        """What is expected after the answers, and which models (n, K) have answered."""
        router = self.router_
        prompts, names = check_X(self, X, reset=False), self.classes_.tolist()
        table, counts = check_answers(responses, lengths, names, len(prompts), self.encoder)
        return router._judge(prompts, table, counts), _is_answered(table)

    def _weighted(self, prediction: Prediction) -> FloatArray:
        return self.router_._cost_weight() * self.router_._costs_of(prediction)

    # ---------------------------------------------------------------- tune

    def _chain(self, X: Any, responses: Any, lengths: Any) -> Chain:
        """Chains on recorded answers of all models."""
        _, max_calls = self._settings()
        check_is_fitted(self)
        router = self.router_
        prompts, names = check_X(self, X, reset=False), self.classes_.tolist()
        given = in_order(responses, names, "responses")
        table, counts = check_answers(given, lengths, names, len(prompts), self.encoder)
        if not _is_answered(table).all():
            reject("responses", "recorded for every prompt and model", Words("some missing"))
        predictor, options = router.predictor_, router._options()
        prediction = predictor.predict(prompts, options)
        answers = predictor.describe_answers(table, counts, options)
        quality, costs = router._choices(prediction)

        def judge(called: BoolArray) -> FloatArray:
            return predictor.judged(prediction, answers, called).quality

        weight = router._cost_weight()
        prices = router._costs_of(prediction) if router.costs is not None else np.ones_like(quality)
        first = route(quality, costs, weight)
        used = weight if router.costs is not None else 0.0
        return follow(first, judge, prices, used, min(max_calls, len(names)))

    def tune_threshold(
        self,
        X: Any,
        y: Any = None,
        responses: Any = None,
        response_lengths: Any = None,
        *,
        budget: float | None = None,
        reference: Any = None,
        max_loss: float | None = None,
        alpha: float = 0.1,
    ) -> Self:
        """Set ``threshold`` to meet a budget, or as high as a limit on the loss certifies.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p)
            Prompts like those to come, which the router was not fitted on.
        y : array-like or DataFrame of shape (n, K), default=None
            Their scores, all observed; only needed with ``max_loss``.
        responses : array-like of str of shape (n, K), or of numbers (n, K, d)
            What every model answered to them.
        response_lengths : array-like of shape (n, K), default=None
            Lengths of these, where `fit` was given lengths.
        budget : float, default=None
            Mean expected cost of a prompt's calls together, or without ``costs`` the mean number of
            calls: the smallest threshold that meets it on X is taken.
        reference : label, default=None
            With ``max_loss``: the model that would otherwise always be called.
        max_loss : float, default=None
            Mean score that may be lost against always calling ``reference``.
        alpha : float, default=0.1
            Probability that more may be lost nevertheless.

        Returns
        -------
        self
            The cascade, with another ``threshold``.

        Raises
        ------
        ValueError
            If a parameter does not fit, the budget cannot be met, or no threshold can be certified;
            ``threshold`` is then what it was.

        Notes
        -----
        The certificate speaks of the whole chain: first call, looks, further calls, and the choice
        among the answers. If the prompts of X are independent draws of those to come, were not seen
        in ``fit``, and scores stay within the range of the training scores, then with probability
        at least ``1 - alpha`` the expected score of a kept answer is at most ``max_loss`` below
        that of ``reference``. 101 fixed thresholds are tested in growing order, each at level
        ``alpha``, up to the first that fails.
        """
        check_one_goal(budget, max_loss, y)
        chain = self._chain(X, responses, response_lengths)
        if budget is not None:
            limit = check_float(budget, "budget")
            threshold = threshold_for_budget(chain, limit)
            if threshold is None:
                least = chain.costs[:, 0].mean()
                reject("budget", f"at least {least:g}, the mean cost of the first calls", budget)
        else:
            limit = check_float(max_loss, "max_loss", low=0)
            level = check_float(alpha, "alpha", 0, 1, closed="neither")
            threshold = self._certified(chain, y, reference, limit, level)
        self.threshold = threshold
        return self

    def _certified(self, chain: Chain, y: Any, reference: Any, limit: float, alpha: float) -> float:
        names, score_range = self.classes_.tolist(), self.router_.predictor_.score_range
        scores, column = calibration_scores(y, reference, names, len(chain.kept), score_range)
        rows, thresholds = np.arange(len(scores)), fixed_thresholds(score_range)
        kept = np.stack([scores[rows, chain.chosen(t)] for t in thresholds], axis=1)
        losses = scores[:, [column]] - kept
        found = certify_last(losses, thresholds, limit, alpha, score_range)
        if found.setting is None:
            raise ValueError(
                f"No threshold could be certified with max_loss={limit:g}, alpha={alpha:g}: with "
                f"{chain.kept.shape[1]} calls for every prompt the mean loss against {reference!r} "
                f"on {len(scores)} prompts is {found.mean_losses[0]:.4g}, p = "
                f"{found.p_values[0]:.3g}. Give more prompts or a larger max_loss."
            )
        return found.setting

    def score(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        responses: Any = None,
        response_lengths: Any = None,
    ) -> float:
        """Mean score of the answers that are kept.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p)
            The prompts.
        y : array-like or DataFrame of shape (n, K)
            True scores.
        sample_weight : array-like of shape (n,), default=None
            Weight of each prompt.
        responses, response_lengths : array-like of shape (n, K), default=None
            What every model answered, and the lengths. None scores the first calls.

        Returns
        -------
        float
            Weighted mean over the prompts whose kept answer has a score.
        """
        if responses is None:
            return super().score(X, y, sample_weight)
        chain = self._chain(X, responses, response_lengths)
        chosen = self.classes_[chain.chosen(self._settings()[0])]
        return self._mean_score(chosen, self.classes_.tolist(), y, sample_weight)

    # ---------------------------------------------------------------- save

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the fitted cascade to a folder: the router, and ``cascade.json`` beside it.

        Parameters
        ----------
        folder : path
            New, empty, or written by this method before.

        Raises
        ------
        ValueError
            If the folder holds something else.
        """
        threshold, max_calls = self._settings()
        check_is_fitted(self)
        place = Path(folder)
        if place.is_dir() and any(place.iterdir()) and not (place / _FILE).exists():
            reject("folder", "new, empty, or written by save_pretrained", str(place))
        place.mkdir(parents=True, exist_ok=True)
        self.router_.save_pretrained(place / "router")
        content = {"format": _FORMAT, "version": _VERSION}
        content |= {"threshold": threshold, "max_calls": max_calls}
        text = json.dumps(with_checksum(content), indent=1)
        write_atomically(place / _FILE, lambda path: path.write_text(text, encoding="utf-8"))

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], **changes: Any) -> Self:
        """Read a cascade that `save_pretrained` wrote; nothing in the folder is ever executed.

        Parameters
        ----------
        folder : path
            What was written.
        **changes : object
            Parameters of the router that shall have other values, such as ``device``.

        Returns
        -------
        CascadeRouter
            Fitted.

        Raises
        ------
        ValueError
            If a file is missing or damaged; the message names it.
        """
        path = Path(folder) / _FILE
        try:
            content = parse_json(path)
            check_content(content, _KEYS)
            if (content["format"], content["version"]) != (_FORMAT, _VERSION):
                raise ValueError("another format or version")
            cascade = cls(threshold=content["threshold"], max_calls=content["max_calls"])
            cascade._settings()
        except (OSError, *SENSELESS) as error:
            message = f"folder must be written by save_pretrained; {path} is missing or damaged."
            raise ValueError(f"{message} ({error})") from error
        router = LookaheadRouter.from_pretrained(path.parent / "router", **changes)
        if not isinstance(router, LookaheadRouter):
            reject("folder", "one that holds a LookaheadRouter", type(router).__name__)
        cascade.router = clone(router)
        cascade._take(router)
        return cascade


def _is_answered(table: npt.NDArray[Any]) -> BoolArray:
    if table.dtype == object:
        return np.array([[text is not None for text in row] for row in table])
    return ~np.isnan(table).any(axis=2)


def _answers_of(call: Any, name: Any, prompts: list[str]) -> list[str]:
    """Answers of a model, one text for each prompt."""
    texts = list(call(name, prompts))
    if len(texts) != len(prompts) or not all(isinstance(text, str) for text in texts):
        reject("call", f"a function that returns {len(prompts)} texts", texts)
    return texts
