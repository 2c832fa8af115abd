"""BaseLookaheadRouter: all that a router does that predicts responses before a model is called."""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from lookahead_sk._device import gradients, resolve_device
from lookahead_sk._typing import BoolArray, Float32Array, FloatArray, Prompts
from lookahead_sk._validation import Words, check_float, check_verbose, reject
from lookahead_sk.metrics._cost_quality import route, tie_weights
from lookahead_sk.metrics._tables import check_prices, column_names
from lookahead_sk.routing._base import BaseRouter
from lookahead_sk.routing._checks import (
    FitData,
    check_answers,
    check_cost_unit,
    check_feedback,
    check_fit_data,
    check_lengths,
    check_name,
    check_new_scores,
    check_responses,
    check_X,
    read_context,
    remember_X,
)
from lookahead_sk.routing._costs._assignment import (
    assign,
    read_capacity,
    read_current,
    with_switching,
)
from lookahead_sk.routing._costs._certificate import (
    calibration_scores,
    certify_cost_weight,
    check_one_goal,
)
from lookahead_sk.routing._costs._utility import (
    expected_costs,
    weight_for_budget,
    with_fallback,
)
from lookahead_sk.routing._model_updates import (
    fit_added_model,
    with_added_model,
    with_feedback,
    without_model,
)
from lookahead_sk.routing._predictor import Prediction, Predictor
from lookahead_sk.routing._training._epochs import (
    CallbackSupportMixin,
    EpochTasks,
    with_callbacks,
)

MIN_PROMPTS = 10  # of a new model: fewer say next to nothing
_N_WEIGHTS = 50  # cost weights that a certificate tests in turn


class Training(Protocol):
    """A training in progress, which an approach starts and `fit` carries through."""

    max_epochs: int

    @property
    def is_over(self) -> bool:
        """Whether there is no further epoch."""

    def run_epoch(self) -> None:
        """Train for one epoch."""

    def predictor(self) -> Predictor:
        """What the router would be if training stopped now."""

    def finish(self) -> Predictor:
        """End the training."""


class BaseLookaheadRouter(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, CallbackSupportMixin, BaseRouter
):
    """Base of the routers that predict every model's response from the prompt.

    A subclass has parameters of its own beside ``costs``, ``cost_weight``, ``cost_unit``,
    ``fallback``, ``novelty_level``, ``device``, ``random_state`` and ``verbose``. It checks its own
    in ``_check_parameters``, starts a `Training` in ``_start_training``, and names in
    ``_options_type`` the parameters that its network, a ``_network_type``, reads in prediction.

    Attributes
    ----------
    predictor_ : Predictor
        The fitted state. Everything else that is fitted is read from it.
    """

    _options_type: ClassVar[Any]  # a NamedTuple
    _network_type: ClassVar[Any]  # a TrainedNetwork, or several

    costs: Any
    cost_weight: float
    cost_unit: str
    fallback: Any
    novelty_level: float
    device: Any
    random_state: Any
    verbose: int
    predictor_: Predictor

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    # ---------------------------------------------------------------- fit

    def _check_parameters(self) -> None:
        """Raise for a parameter that is wrong, whatever the router will be fitted on."""
        self._cost_weight()
        check_cost_unit(self.cost_unit)
        self._novelty_level()
        check_verbose(self.verbose)
        resolve_device(self.device)

    @abstractmethod
    def _reads(self) -> str:
        """What the prompts are read by, for the model card."""

    @abstractmethod
    def _start_training(self, data: FitData) -> Training:
        """Prepare all that training needs; nothing of the router is changed."""

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        responses: Any = None,
        response_lengths: Any = None,
        response_texts: Any = None,
        cell_weight: Any = None,
    ) -> Self:
        """Learn to predict responses and to score models on them.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.
        y : array-like of shape (n, K), DataFrame, or array-like of shape (n,)
            Scores of the K models, NaN where not observed, in any unit where more is better; the
            columns of a DataFrame name the models. 1-D labels are plain classification.
        responses : array-like of str of shape (n, K), or of numbers (n, K, d), default=None
            What the models answered; None, or NaN, where not observed. The columns of a DataFrame
            are brought to the order of those of ``y``. Numbers are response embeddings and go with
            ``encoder="passthrough"``.
        response_lengths : array-like of shape (n, K), default=None
            True lengths of the responses in any unit (characters, tokens), for logs that keep only
            the beginning of a response; measured in characters on the texts when not given.
            They go with ``responses``.
        response_texts : array-like of str of shape (n, K), default=None
            The responses themselves, where ``responses`` are numbers: how they look and how far
            their final answers agree is read off them, and `foresee` shows them.
        cell_weight : array-like of shape (n, K), default=None
            How much every score counts, positive where one is observed: 2 is as much as two prompts
            with that score. For scores that are means of unequal numbers of samples
            `lookahead_sk.datasets.average_samples` computes it. None counts all alike. Weights act
            on the score loss and the averages over similar prompts, and on the choice of these; not
            on ``temperature_``, ``validation_score_``, ``always_best_single_``, and what is learnt
            from responses. Only `LookaheadRouter` takes them.

        Returns
        -------
        self
            The fitted router.

        Raises
        ------
        TypeError
            If X is a single string or holds something that is not a string.
        ValueError
            If a shape does not fit, a score is infinite, a prompt or a model was never observed, or
            the weight of a score is not positive.
        OSError
            If the encoder, or the backbone, cannot be loaded.
        """
        self._check_parameters()
        data = check_fit_data(self, X, y, responses, response_lengths, response_texts, cell_weight)
        with gradients():
            training = self._start_training(data)
            tasks = EpochTasks(self, X, y, training.max_epochs)
            while not training.is_over:
                tasks.begin_epoch()
                training.run_epoch()
                if tasks.end_epoch(lambda: {"predictor_": training.predictor()}):
                    break
            self.predictor_ = training.finish()
        remember_X(self, X)
        tasks.close(lambda: {"predictor_": self.predictor_})
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "predictor_")

    # ---------------------------------------------------------------- fitted attributes

    @property
    def classes_(self) -> npt.NDArray[Any]:  # type: ignore[override]
        """Names (K,) of the models."""
        return self.predictor_.classes

    @property
    def mean_scores_(self) -> FloatArray:
        """Mean score (K,) of every model."""
        return self.predictor_.mean_scores

    @property
    def n_prompts_(self) -> int:
        """Prompts learned from, those held out included."""
        return self.predictor_.n_prompts

    @property
    def temperature_(self) -> float:  # type: ignore[override]
        """Temperature of `predict_proba`, in the units of the scores."""
        return self.predictor_.temperature

    @property
    def blend_(self) -> float:
        """Share of the network's own score in the quality; the rest is the local average."""
        return self.predictor_.blend

    @property
    def always_best_single_(self) -> bool:
        """Whether no model is rated above the best single one, for want of held-out evidence."""
        return self.predictor_.best_single is not None

    @property
    def validation_score_(self) -> float:
        """Mean score of the held-out training prompts, as routed; more is better."""
        return self.predictor_.validation_score

    @property
    def validation_losses_(self) -> list[float]:
        """Held-out loss after each epoch; less is better."""
        return self.predictor_.validation_losses

    @property
    def n_iter_(self) -> int:
        """Epochs trained."""
        return len(self.predictor_.validation_losses)

    @property
    def _n_features_out(self) -> int:
        return self.predictor_.network.n_latents

    # ---------------------------------------------------------------- predict

    def _options(self) -> Any:
        """The parameters that the network reads in prediction."""
        kind = self._options_type
        return kind(*(getattr(self, name) for name in kind._fields))

    def _fitted(self) -> Predictor:
        """The state as it is now; a method reads it once and asks it alone."""
        if not self.__sklearn_is_fitted__():
            check_is_fitted(self)  # raises
        return self.predictor_

    def _predict(self, X: Any) -> Prediction:
        """What is expected of the prompts."""
        predictor = self._fitted()
        return predictor.predict(check_X(self, X, reset=False), self._options())

    def _judge(self, X: Any, responses: Any, response_lengths: Any) -> Prediction:
        """What is expected of prompts that some models have answered."""
        if responses is None:
            if response_lengths is not None:
                reject("responses", "given where response_lengths are", None)
            return self._predict(X)
        predictor = self._fitted()
        prompts = check_X(self, X, reset=False)
        names = predictor.classes.tolist()
        answers, lengths = check_answers(
            responses, response_lengths, names, len(prompts), self.encoder
        )
        options = self._options()
        described = predictor.describe_answers(answers, lengths, options)
        return predictor.judged(predictor.predict(prompts, options), described)

    def predict_quality(
        self, X: Any, responses: Any = None, response_lengths: Any = None
    ) -> FloatArray:
        """Predict the score of every model on every prompt, before or after some have answered.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.
        responses : mapping of model to n texts, array-like of str of shape (n, K), default=None
            What models have answered, None where they have not; numbers (n, K, d) with
            ``encoder="passthrough"``. Needs a `LookaheadRouter` that was fitted with responses.
        response_lengths : mapping of model to n numbers, array-like of shape (n, K), default=None
            Lengths of these in the unit of those of `fit`. Where `fit` was given none, they are
            counted in characters.

        Returns
        -------
        ndarray of shape (n, K)
            Expected scores in the units of ``y``, columns in the order of ``classes_``. An answer
            changes the quality of its model, and that of the others: it tells how hard the prompt
            is.

        Raises
        ------
        ValueError
            If a shape does not fit, a model is unknown, or responses cannot be judged.

        Notes
        -----
        Held-out training prompts show how the scores differ from those predicted when a response
        differs from the one predicted, in what it says, its length and its form, and when two
        models agree. The correction is the best linear one for the models that have answered.
        Answers of models that came by `add_model` are not judged.

        Examples
        --------
        >>> from lookahead_sk import LookaheadRouter
        >>> from lookahead_sk.datasets import make_routing
        >>> data = make_routing(300, random_state=0, as_frame=True)
        >>> router = LookaheadRouter(lexical_features=32, random_state=0)
        >>> _ = router.fit(data.prompts[:200], data.scores[:200], responses=data.responses[:200])
        >>> new, answers = data.prompts[200:], data.responses["generalist-xl"][200:]
        >>> router.predict_quality(new, responses={"generalist-xl": answers}).shape
        (100, 6)
        """
        return self._judge(X, responses, response_lengths).quality

    def _predict_quality(self, prompts: Prompts) -> FloatArray:
        return self.predictor_.predict(prompts, self._options()).quality

    def _costs_of(self, prediction: Prediction) -> FloatArray:
        return expected_costs(prediction, self.costs, self.cost_unit)

    def _utilities(self, X: Any) -> tuple[FloatArray, float]:
        prediction = self._predict(X)
        utility = prediction.quality - self._cost_weight() * self._costs_of(prediction)
        return utility, prediction.predictor.temperature

    def _choices(self, prediction: Prediction) -> tuple[FloatArray, FloatArray]:
        """Quality and costs that `predict` chooses by."""
        costs = self._costs_of(prediction)
        if self.fallback is None:
            return prediction.quality, costs
        return with_fallback(prediction, costs, self.fallback, self._novelty_level())

    def _cost_weight(self) -> float:
        return check_float(self.cost_weight, "cost_weight", low=0, closed="left")

    def _novelty_level(self) -> float:
        return check_float(self.novelty_level, "novelty_level", 0, 1)

    def predict(
        self,
        X: Any,
        budget: float | None = None,
        *,
        current: Any = None,
        switch_cost: Any = None,
        capacity: Any = None,
    ) -> npt.NDArray[Any]:
        """Choose a model for every prompt.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts; instead of a text, a prompt may be a conversation, a list of messages with
            "role" and "content", which `conversation_text` writes as a text.
        budget : float, default=None
            Mean expected cost a prompt that these prompts may have together, instead of
            ``cost_weight``: the smallest weight that meets it is taken.
        current : label or array-like of shape (n,), default=None
            Model that serves each conversation so far, None for a new one. It is left only where
            the utility gained is more than that of the price of switching.
        switch_cost : float or array-like of shape (n,), default=None
            Price of switching, in the unit of ``costs``: that of reading the context again. None
            takes it from `TokenPrice` and the conversations in X: the serving model reads all but
            the last message at the price of cached tokens.
        capacity : mapping of model to float, or array-like of shape (K,), default=None
            Largest share of these prompts that a model may take, in [0, 1]; models that a mapping
            lacks may take all, and "model" stands for all its arms "model@effort". The sum of
            utilities is then maximised, by linear programming.

        Returns
        -------
        ndarray of shape (n,)
            The element of ``classes_`` with the largest utility; of equal ones the cheapest. With
            ``fallback``, that model for prompts that `is_novel` flags.

        Raises
        ------
        ValueError
            If the cheapest models cost more than the budget, there are no ``costs``, lengths that
            ``cost_unit`` needs are not predicted, the capacities do not suffice for the prompts, or
            are given together with a budget, or switching costs nothing as ``cost_weight`` is 0.
        """
        return self._choose(X, budget, current, switch_cost, capacity)[0]

    def _choose(
        self,
        X: Any,
        budget: float | None = None,
        current: Any = None,
        switch_cost: Any = None,
        capacity: Any = None,
    ) -> tuple[npt.NDArray[Any], list[Any]]:
        prediction = self._predict(X)
        names = prediction.classes.tolist()
        if budget is not None and self.costs is None:
            reject("costs", "given when there is a budget", None)
        if budget is not None and capacity is not None:
            reject("budget", "None where capacity is given", budget)
        quality, costs = self._choices(prediction)
        if current is not None:
            if budget is None and self._cost_weight() == 0:
                hint = "It says what a unit of cost is worth in score."
                reject("cost_weight", "above 0 where current is given", 0, hint=hint)
            serving = read_current(current, names, len(quality))
            context = read_context(X) if switch_cost is None else None
            costs = with_switching(costs, serving, switch_cost, self.costs, names, context)
        elif switch_cost is not None:
            reject("current", "given where there is a switch_cost", None)
        weight = self._cost_weight()
        if budget is not None:
            weight = weight_for_budget(quality, costs, budget)
        if capacity is None:
            return prediction.classes[route(quality, costs, weight)], names
        limits = read_capacity(capacity, names, len(quality))
        return prediction.classes[assign(quality - weight * costs, limits)], names

    def predict_cost(self, X: Any) -> FloatArray:
        """Expect the cost of calling every model.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.

        Returns
        -------
        ndarray of shape (n, K)
            In the unit of ``costs``: the price of a call, or with ``cost_unit="length"`` the price
            times the predicted length of the response; with `TokenPrice` as ``costs``, the price of
            the prompt's tokens and of those predicted for the response.

        Raises
        ------
        ValueError
            If ``costs`` do not fit, or the lengths that ``cost_unit`` needs are not predicted.
        """
        return self._costs_of(self._predict(X)).copy()

    def transform(self, X: Any) -> Float32Array:
        """Predict the latent of every model's response.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.

        Returns
        -------
        ndarray of shape (n, K * latent)
            The predicted latents, model by model: standardised response descriptors, or hidden
            states of the backbone. K are the models of `fit`, whatever was added or dropped later.
        """
        network = self._fitted().network
        latents = network.read(check_X(self, X, reset=False), self._options()).latents
        return latents.reshape(len(latents), -1)

    def foresee(self, X: Any) -> list[dict[Any, dict[str, Any]]]:
        """Tell what each model is expected to answer.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.

        Returns
        -------
        list of dict
            For every prompt, model name -> ``{"response", "row", "similarity", "length"}``. From
            `LookaheadRouter` the training response of that model that is nearest to the predicted
            one (None when responses were given as numbers), its row in the training data (of
            `add_model`, for a model that was added), and the cosine between the two. From the
            fine-tuned routers the first tokens that the backbone itself expects, and None for row
            and similarity. The expected length is in the unit of ``response_lengths``, and None
            when unknown.

        Raises
        ------
        ValueError
            If the router was fitted without responses or with ``response_weight=0``.
        """
        predictor = self._fitted()
        return predictor.foresee(check_X(self, X, reset=False), self._options())

    def novelty_p_values(self, X: Any) -> FloatArray:
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
            prompts like those of the training, a share of at most t has a p-value of at most t.

        References
        ----------
        .. [1] Bates, Candes, Lei, Romano and Sesia, "Testing for outliers with conformal p-values",
           Annals of Statistics 51, 2023.
        .. [2] Sun, Ming, Zhu and Li, "Out-of-distribution detection with deep nearest neighbors",
           ICML 2022.
        """
        return self._predict(X).novelty_p_values()

    def is_novel(self, X: Any) -> BoolArray:
        """Flag prompts that are unlike the training prompts.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.

        Returns
        -------
        ndarray of bool of shape (n,)
            Whether `novelty_p_values` are at most ``novelty_level``. With ``fallback``, `predict`
            sends these prompts to that model.
        """
        level = self._novelty_level()
        return self.novelty_p_values(X) <= level

    # ---------------------------------------------------------------- tune

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
        self
            The router, with another ``cost_weight``.

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
        self._fitted()
        check_one_goal(budget, max_loss, y)
        if self.costs is None:
            reject("costs", "given to tune their weight", None)
        if budget is not None:
            budget = check_float(budget, "budget")
            self.cost_weight = weight_for_budget(*self._choices(self._predict(X)), budget)
            return self
        limit = check_float(max_loss, "max_loss", low=0)
        alpha = check_float(alpha, "alpha", 0, 1, closed="neither")
        self.cost_weight = self._certified_weight(X, y, reference, limit, alpha)
        return self

    def _certified_weight(
        self, X: Any, y: Any, reference: Any, limit: float, alpha: float
    ) -> float:
        prediction = self._predict(X)
        quality, costs = self._choices(prediction)
        score_range = prediction.predictor.score_range
        names = prediction.classes.tolist()
        scores, column = calibration_scores(y, reference, names, len(quality), score_range)
        ties = np.append(0.0, tie_weights(quality, costs))
        weights = np.unique(np.quantile(ties, np.linspace(0, 1, _N_WEIGHTS))) * (1 + 1e-9)
        found = certify_cost_weight(
            scores, quality, costs, column, weights, limit, alpha, score_range
        )
        if found.setting is None:
            raise ValueError(
                f"No cost weight could be certified with max_loss={limit:g}, alpha={alpha:g}: at "
                f"cost_weight=0 the mean loss against {reference!r} on {len(scores)} prompts is "
                f"{found.mean_losses[0]:.4g}, p = {found.p_values[0]:.3g}. Give more prompts, a "
                "larger max_loss, or go on calling the reference."
            )
        return found.setting

    # ---------------------------------------------------------------- update

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Learn from more scores, of all models or only of those that were called.

        Nothing is trained again: predictions are corrected by how much they were wrong on average
        on similar prompts. Every score ever seen counts the same, those of `fit` included.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.
        y : array-like of shape (n, K), DataFrame, or array-like of shape (n,)
            Scores in the unit of those of `fit`, NaN where a model was not called. A DataFrame may
            lack models. 1-D labels name the best model.
        classes : array-like of shape (K,), default=None
            The models, as scikit-learn's loops pass them; only checked. A router that is not fitted
            yet is fitted on what is given, which must show all of them.

        Returns
        -------
        self
            The router.

        Raises
        ------
        ValueError
            If a shape does not fit, a model is unknown, or a prompt has no score; nothing has then
            been learnt.

        Notes
        -----
        Predictions in other threads go on undisturbed. But update from one thread at a time: of two
        updates that run at once, one is lost.

        Scores of only the called model do not flatter it: what is averaged is the error of its
        prediction, not how well it did where it was called. But nothing is learned of a model that
        is never called: call another one for a small share of the prompts, drawn at random or from
        `predict_proba`.

        Examples
        --------
        >>> from lookahead_sk import LookaheadRouter
        >>> from lookahead_sk.datasets import make_routing
        >>> import numpy as np
        >>> data = make_routing(600, random_state=0)
        >>> router = LookaheadRouter(lexical_features=32, random_state=0)
        >>> router.fit(data.prompts[:300], data.scores[:300]).n_prompts_
        300
        >>> called = router.predict(data.prompts[300:])
        >>> feedback = np.where(router.classes_ == called[:, None], data.scores[300:], np.nan)
        >>> router.partial_fit(data.prompts[300:], feedback).n_prompts_
        600
        """
        if not self.__sklearn_is_fitted__():
            if classes is not None:
                _check_classes(classes, _names_in(y), "what y shows")
            return self.fit(X, y)
        if classes is not None:
            _check_classes(classes, self.classes_.tolist(), "the models of fit")
        predictor = self.predictor_
        prompts = check_X(self, X, reset=False)
        scores = check_feedback(
            y, len(prompts), predictor.classes, knows_labels=predictor.knows_labels
        )
        output = predictor.network.read(prompts, self._options())
        self.predictor_ = with_feedback(predictor, output, scores)
        return self

    def add_model(
        self, name: Any, X: Any, y: Any, responses: Any = None, response_lengths: Any = None
    ) -> Self:
        """Add a candidate from its scores on some prompts; all other predictions stay the same.

        Parameters
        ----------
        name : label
            Of the new model; ``classes_`` ends with it.
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            At least 10 prompts, of the training or others; hundreds are better.
        y : array-like of shape (n,)
            The model's scores, in the unit of those of `fit`.
        responses : sequence of str, or array-like of shape (n, d), default=None
            What it answered, for `foresee`.
        response_lengths : array-like of shape (n,), default=None
            True lengths of its responses, for ``cost_unit="length"``; measured on ``responses``
            when not given.

        Returns
        -------
        self
            The router.

        Raises
        ------
        ValueError
            If there is a model of this name, a shape does not fit, or ``costs`` do not cover it:
            set them before, as a mapping, which other threads can go on using in the meantime.
            Nothing has then been changed.

        Notes
        -----
        Its quality is the mean quality of the fitted models, plus its mean advantage over them in
        similar prompts. Nothing is trained again, and `transform` shows the models of `fit` only.
        """
        predictor, options = self._fitted(), self._options()
        names = predictor.classes.tolist()
        if check_name(name, "name") in names:
            reject("name", f"a new name, none of {names}", name)
        prompts = check_X(self, X, reset=False)
        if len(prompts) < MIN_PROMPTS:
            reject("X", f"at least {MIN_PROMPTS} prompts", Words(f"{len(prompts)} prompts"))
        scores = check_new_scores(y, len(prompts))
        table, lengths = self._check_new_responses(responses, response_lengths, len(prompts))
        self._check_costs([*names, name])
        is_unpriced = responses is None and lengths is None
        if is_unpriced and self.cost_unit == "length" and self.costs is not None:
            reject("response_lengths", "given where cost_unit='length'", None)
        output = predictor.network.read(prompts, options)
        coordinates = None
        if table is not None:
            coordinates = predictor.network.embed_responses(table, options)
        _check_any("responses", coordinates)
        _check_any("response_lengths", lengths)
        texts = table if table is not None and table.dtype == object else None
        model = fit_added_model(predictor, output, scores, coordinates, texts, lengths)
        self.predictor_ = with_added_model(predictor, output, name, model, scores)
        return self

    def _check_new_responses(
        self, responses: Any, lengths: Any, n: int
    ) -> tuple[npt.NDArray[Any] | None, FloatArray | None]:
        """Responses (n,) or (n, d) of a new model and their lengths (n,), where there are any."""
        table = check_responses(_as_column(responses), (n, 1), self.encoder)
        checked = check_lengths(_as_column(lengths), (n, 1))
        own = None if checked is None else checked[:, 0]
        if table is None:
            return None, own
        if own is None and table.dtype == object:
            own = np.array([np.nan if text is None else float(len(text)) for text in table[:, 0]])
        return table[:, 0], own

    def drop_model(self, name: Any) -> Self:
        """Never choose a model again; all other predictions stay the same.

        Parameters
        ----------
        name : label
            One of ``classes_``.

        Returns
        -------
        self
            The router.

        Raises
        ------
        ValueError
            If there is no such model, fewer than two would remain, it is the ``fallback``, or
            ``costs`` do not fit the others: set them before. Nothing has then been changed.
        """
        predictor = self._fitted()
        names = predictor.classes.tolist()
        if check_name(name, "name") not in names:
            reject("name", f"one of {names}", name)
        if len(names) == 2:
            raise ValueError(f"At least two models must remain; there are only {names}.")
        if self.fallback is not None and self.fallback == name:
            reject("name", "another model than the fallback", name, hint="Set fallback before.")
        self._check_costs([other for other in names if other != name])
        self.predictor_ = without_model(predictor, name)
        return self

    def _check_costs(self, names: list[Any]) -> None:
        try:
            check_prices(self.costs, names)
        except ValueError as error:
            raise ValueError(f"{error} Call set_params(costs=...) before.") from error

    # ---------------------------------------------------------------- save

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the fitted router to a folder, as safetensors, JSON and a model card.

        Parameters
        ----------
        folder : path
            New, empty, or written by this method before. It changes only when all is on disk.

        Raises
        ------
        ValueError
            If the folder holds something else, or a model's name is no text or number.
        """
        from lookahead_sk.routing._saving._folder import save_router

        self._fitted()
        save_router(self, folder)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], **changes: Any) -> Self:
        """Read a router that `save_pretrained` wrote; nothing in the folder is ever executed.

        Parameters
        ----------
        folder : path
            What was written.
        **changes : object
            Parameters that shall have other values, such as ``device``, or the ``encoder`` of a
            router that was fitted with an encoder given as an object.

        Returns
        -------
        router
            Fitted, of the class that was saved, whichever router this is called on.

        Raises
        ------
        ValueError
            If a file is missing or damaged; the message names it.
        """
        from lookahead_sk.routing._saving._folder import load_router

        return load_router(cls, folder, changes)


def _as_column(values: Any) -> Any:
    """Responses or lengths of one model, (n,) or (n, d), as those of a table with one model."""
    if values is None or isinstance(values, str | bytes):
        return values
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    if isinstance(values, np.ndarray):
        return values[:, None]
    if not hasattr(values, "__iter__"):
        reject("responses and response_lengths", "sequences with one entry a prompt", values)
    return [[value] for value in values]


def _names_in(y: Any) -> list[Any]:
    """Models that a first ``y`` shows."""
    columns = column_names(y)
    if columns is not None:
        return columns
    array = np.asarray(y)
    return list(range(array.shape[1])) if array.ndim == 2 else np.unique(array).tolist()


def _check_classes(classes: Any, known: list[Any], what: str) -> None:
    if set(np.asarray(classes).tolist()) != set(known):
        reject("classes", f"{what}, {known}", classes)


def _check_any(name: str, values: npt.NDArray[Any] | None) -> None:
    """Raise where nothing of the responses, or lengths, of a new model was observed."""
    if values is not None and np.isnan(values).reshape(len(values), -1).any(axis=1).all():
        reject(name, "observed for some prompts", Words("none"))
