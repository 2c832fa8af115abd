"""The fitted state of a router: plain data, and what it predicts for prompts.

A router holds one `Predictor`; the predictor knows nothing of the router. It is never changed:
feedback, added and dropped models make a new one (`_model_updates`), which the router takes over in
one assignment. So a prediction in another thread sees the old state or the new one, never half of
each.

n prompts, K candidate models, of which the first K0 were fitted; f dimensions of the space.

==  ==========================================================================
s   (n, f) where prompts are compared: the space of the local average
q   (n, K0) the network's own quality of the models that were fitted
r   local mean of later scores less the quality before any feedback
==  ==========================================================================

fitted model k:  (1 - blend) average_k(s) + blend q_k + r_k(s), the first two at most those of the
                 best single model where routing gains nothing on held-out prompts
added model a:   mean of the fitted models' quality before any feedback + offset_a + r_a(s)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from lookahead_sk._typing import (
    BoolArray,
    Float32Array,
    FloatArray,
    IntArray,
    ObjectArray,
    Prompts,
)
from lookahead_sk.routing._answer_judge import Answers
from lookahead_sk.routing._checks import FitData, n_observed
from lookahead_sk.routing._features._reference_responses import nearest_by_cosine
from lookahead_sk.routing._local_average._cells import mean_scores, observed_weights
from lookahead_sk.routing._local_average._mixture import Mixture
from lookahead_sk.routing._local_average._selection import fit_temperature, routed_scores
from lookahead_sk.routing._novelty import Novelty

Foreseen = list[dict[Any, dict[str, Any]]]


class NetworkOutput(NamedTuple):
    """What a trained network says of n prompts, before any local average."""

    space: Float32Array  # (n, f)
    quality: FloatArray  # (n, K0), in the units of the scores
    latents: Float32Array  # (n, K0, r)
    descriptors: Float32Array  # (n, K0, r'), predicted response descriptors; r' may be 0
    features: Float32Array  # (n, p), where prompts are compared with those of the training
    beside: Any = None  # what a network beside it says, if there is one


class TrainedNetwork(Protocol):
    """A trained network as plain data; each approach has one.

    ``options`` are those parameters of the router that prediction reads.
    """

    @property
    def n_latents(self) -> int:
        """K0 * r."""

    @property
    def n_models(self) -> int:
        """K0."""

    def read(self, prompts: Prompts, options: Any) -> NetworkOutput:
        """What the network says of prompts."""

    def lengths(self, output: NetworkOutput) -> FloatArray | None:
        """Expected lengths (n, K0) of the responses; None where none were observed."""

    def foresee(self, prompts: Prompts, output: NetworkOutput, options: Any) -> Foreseen:
        """What the fitted models, by their numbers, are expected to answer."""

    def embed_responses(self, responses: npt.NDArray[Any], options: Any) -> Float32Array | None:
        """Responses (n,) or (n, d) on principal axes, (n, c); None where there are no axes."""

    def describe_answers(
        self, answers: npt.NDArray[Any], lengths: FloatArray | None, options: Any
    ) -> Answers:
        """What written responses (n, K0), or their embeddings (n, K0, d), say."""

    def judge_answers(self, output: NetworkOutput, answers: Answers) -> FloatArray:
        """What answers add to the quality, (n, K0)."""


@dataclass(frozen=True)
class AddedModel:
    """A model that was added to a fitted router.

    Attributes
    ----------
    offset : float
        By how much it scores more than the fitted models do on average.
    residual : Mixture
        Of scores less what the offset tells, in a column: those that it was added with, and later.
    content : ndarray of shape (f + 1, c) or None
        Linear map of the space, and 1, to its response, on the principal axes of responses.
    log_length : ndarray of shape (f + 1, 1) or None
        The same to log(1 + length of its response).
    coordinates : ndarray of shape (m, c) or None
        Its responses on the principal axes, NaN where not observed.
    texts : ndarray of str of shape (m,) or None
        Its responses, where they were texts.
    """

    offset: float
    residual: Mixture
    content: FloatArray | None
    log_length: FloatArray | None
    coordinates: Float32Array | None
    texts: ObjectArray | None

    def base_quality(self, fitted: FloatArray) -> FloatArray:
        """Expected scores (n, 1) without the residual, given those of the fitted models (n, K0)."""
        return fitted.mean(axis=1, keepdims=True) + self.offset

    def lengths(self, space: Float32Array) -> FloatArray:
        """Expected lengths (n,), NaN where no lengths were given."""
        if self.log_length is None:
            return np.full(len(space), np.nan)
        return np.maximum(np.expm1(_affine(space, self.log_length)[:, 0]), 0)

    def foresee(self, space: Float32Array) -> list[dict[str, Any]]:
        """Its response that is nearest to the predicted one."""
        nothing = {"response": None, "row": None, "similarity": None}
        found: list[dict[str, Any]] = [dict(nothing) for _ in space]
        if self.coordinates is not None and self.content is not None:
            predicted = _affine(space, self.content).astype(np.float32)
            rows, similarity = nearest_by_cosine(predicted, self.coordinates)
            for entry, row, cosine in zip(found, rows, similarity, strict=True):
                entry["response"] = None if self.texts is None else self.texts[row]
                entry |= {"row": int(row), "similarity": float(cosine)}
        for entry, length in zip(found, self.lengths(space), strict=True):
            entry["length"] = None if self.log_length is None else float(length)
        return found


@dataclass(frozen=True)
class ModelUpdates:
    """What was learned since `fit`.

    Attributes
    ----------
    kept : ndarray of shape (K,)
        Which of the fitted and then the added models are candidates.
    counts : ndarray of shape (K,)
        Observed scores of every candidate.
    added : list of AddedModel
        Models that came later, dropped ones among them.
    residual : Mixture or None
        By how much the fitted models were misjudged; None before the first feedback.
    """

    kept: IntArray
    counts: FloatArray
    added: list[AddedModel]
    residual: Mixture | None


@dataclass(frozen=True)
class Predictor:
    """All that a fitted router knows.

    Attributes
    ----------
    classes : ndarray of shape (K,)
        Names of the models.
    network : TrainedNetwork
        Of the approach.
    local_average : Mixture or None
        Scores averaged over similar prompts; None where only the network speaks.
    blend : float
        Share of the network in the quality.
    best_single : int or None
        Number of the fitted model that no other is rated above, as calling any other gained
        nothing on held-out prompts; None where that gained.
    novelty : Novelty
        Training prompts that new ones are compared with.
    temperature : float
        Of ``predict_proba``, in the units of the scores.
    score_range : tuple of float
        Smallest and largest training score.
    mean_scores : ndarray of shape (K,)
        Mean score of every model.
    n_prompts : int
        Prompts learned from.
    n_responses : int
        Responses learned from.
    knows_labels : bool
        Whether `fit` was given labels.
    validation_score : float
        Mean score of the held-out training prompts, as routed.
    validation_losses : list of float
        Held-out loss after each epoch.
    updates : ModelUpdates
        What was learned since `fit`.
    """

    classes: npt.NDArray[Any]
    network: TrainedNetwork
    local_average: Mixture | None
    blend: float
    best_single: int | None
    novelty: Novelty
    temperature: float
    score_range: tuple[float, float]
    mean_scores: FloatArray
    n_prompts: int
    n_responses: int
    knows_labels: bool
    validation_score: float
    validation_losses: list[float]
    updates: ModelUpdates

    def predict(self, prompts: Prompts, options: Any) -> Prediction:
        """What is expected of checked prompts."""
        output = self.network.read(prompts, options)
        characters = None
        if isinstance(prompts, list):
            characters = np.array([len(prompt) for prompt in prompts], dtype=np.float64)
        return Prediction(self, output, self._quality(output), characters)

    def describe_answers(
        self, answers: npt.NDArray[Any], lengths: FloatArray | None, options: Any
    ) -> Answers:
        """What answers (n, K) or (n, K, d) of the candidates say; those of added models nothing."""
        n, n_fitted = len(answers), self.network.n_models
        nothing: Any = None if answers.dtype == object else np.nan
        table = np.full((n, n_fitted, *answers.shape[2:]), nothing, dtype=answers.dtype)
        counts = None if lengths is None else np.full((n, n_fitted), np.nan)
        columns, models = self._fitted_columns()
        table[:, models] = answers[:, columns]
        if counts is not None and lengths is not None:
            counts[:, models] = lengths[:, columns]
        return self.network.describe_answers(table, counts, options)

    def _fitted_columns(self) -> tuple[IntArray, IntArray]:
        """Candidates that were fitted: their columns, and their numbers in the network."""
        columns = np.flatnonzero(self.updates.kept < self.network.n_models)
        return columns, self.updates.kept[columns]

    def judged(
        self, prediction: Prediction, answers: Answers, called: BoolArray | None = None
    ) -> Prediction:
        """A prediction of this predictor, with the answers known, or those called (n, K) alone."""
        if called is not None:
            columns, models = self._fitted_columns()
            fitted = np.zeros((len(called), self.network.n_models), dtype=bool)
            fitted[:, models] = called[:, columns]
            answers = answers.of(fitted)
        added = self.network.judge_answers(prediction.output, answers)
        return replace(prediction, quality=self._quality(prediction.output, added))

    def fitted_quality(self, output: NetworkOutput) -> FloatArray:
        """Expected scores (n, K0) of the fitted models, before any feedback."""
        quality = output.quality
        if self.local_average is not None and self.blend < 1:
            local = self.local_average.predict(output.space)
            quality = (1 - self.blend) * local + self.blend * quality
        return capped(quality, self.best_single)

    def _quality(self, output: NetworkOutput, judged: FloatArray | float = 0.0) -> FloatArray:
        """Expected scores (n, K) of the candidates, after what answers (n, K0) add."""
        fitted, updates = self.fitted_quality(output) + judged, self.updates
        columns = [fitted]
        if updates.residual is not None:
            columns = [fitted + updates.residual.predict(output.space)]
        for model in updates.added:
            correction = model.residual.predict(output.space)
            columns.append(model.base_quality(fitted) + correction)
        return np.hstack(columns)[:, updates.kept]

    def lengths(self, output: NetworkOutput) -> FloatArray | None:
        """Expected lengths (n, K) of the candidates' responses; None where none are known."""
        added = self.updates.added
        fitted = self.network.lengths(output)
        if fitted is None:
            if all(model.log_length is None for model in added):
                return None
            fitted = np.full(output.quality.shape, np.nan)
        columns = [fitted, *(model.lengths(output.space)[:, None] for model in added)]
        return np.hstack(columns)[:, self.updates.kept]

    def foresee(self, prompts: Prompts, options: Any) -> Foreseen:
        """What every candidate is expected to answer, by its name."""
        output = self.network.read(prompts, options)
        n_fitted = output.quality.shape[1]
        fitted = self.network.foresee(prompts, output, options)
        added = [model.foresee(output.space) for model in self.updates.added]
        names, kept = self.classes.tolist(), self.updates.kept.tolist()
        return [
            {
                name: fitted[i][k] if k < n_fitted else added[k - n_fitted][i]
                for name, k in zip(names, kept, strict=True)
            }
            for i in range(len(fitted))
        ]


def new_predictor(
    data: FitData,
    network: TrainedNetwork,
    local_average: Mixture | None,
    blend: float,
    quality: FloatArray,
    held_out: BoolArray,
    novelty: Novelty,
    losses: list[float],
    best_single: int | None = None,
) -> Predictor:
    """The state of a router that was just fitted.

    Parameters
    ----------
    data : FitData
        What it was fitted on, n prompts.
    network, local_average, blend, novelty : object
        See `Predictor`.
    quality : ndarray of shape (v, K)
        Of the held-out prompts.
    held_out : ndarray of bool, shape (n,)
        Which prompts these are.
    losses : list of float
        Held-out loss after each epoch.
    best_single : int, optional
        See `Predictor`.
    """
    table, responses = data.table, data.responses
    scores, quality = table.scores[held_out], capped(quality, best_single)
    cells = observed_weights(table.scores, data.cell_weight)
    counts = cells.sum(axis=0).astype(np.float64)
    return Predictor(
        classes=table.classes,
        network=network,
        local_average=local_average,
        blend=blend,
        best_single=best_single,
        novelty=novelty,
        temperature=fit_temperature(quality, scores),
        score_range=data.score_range,
        mean_scores=mean_scores(table.scores, data.cell_weight),
        n_prompts=len(data.prompts),
        n_responses=0 if responses is None else n_observed(responses),
        knows_labels=table.is_label,
        validation_score=float(np.nanmean(routed_scores(quality, scores))),
        validation_losses=list(losses),
        updates=ModelUpdates(np.arange(len(counts)), counts, [], None),
    )


@dataclass(frozen=True)
class Prediction:
    """What a predictor expects of n prompts; it goes with the predictor's own names."""

    predictor: Predictor
    output: NetworkOutput
    quality: FloatArray  # (n, K)
    characters: FloatArray | None  # (n,), of the prompts, where these are texts

    @property
    def classes(self) -> npt.NDArray[Any]:
        """Names (K,) of the columns."""
        return self.predictor.classes

    def lengths(self) -> FloatArray | None:
        """Expected lengths (n, K), NaN where a model's are not known; None where none are."""
        return self.predictor.lengths(self.output)

    def novelty_p_values(self) -> FloatArray:
        """How usual the prompts are, (n,); see `Novelty`."""
        return self.predictor.novelty.p_values(self.output.features)


def in_score_units(logits: Float32Array, score_range: tuple[float, float]) -> FloatArray:
    """Quality (n, K) in the units of the scores, from its logits."""
    low, high = score_range
    quality: FloatArray = low + (high - low) * expit(logits.astype(np.float64))
    return quality


def capped(quality: FloatArray, best_single: int | None) -> FloatArray:
    """Quality (n, K) in which no model is rated as high as the best single one, if there is one."""
    if best_single is None:
        return quality
    ceiling = np.nextafter(quality[:, [best_single]], -np.inf)
    limited = np.minimum(quality, ceiling)
    limited[:, best_single] = quality[:, best_single]
    return limited


def _affine(x: Float32Array, weights: FloatArray) -> FloatArray:
    mapped: FloatArray = x.astype(np.float64) @ weights[:-1] + weights[-1]
    return mapped
