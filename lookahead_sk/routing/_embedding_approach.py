"""The embedding approach: a frozen encoder, a small network, and kinds of prompt."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lookahead_sk._device import resolve_device
from lookahead_sk._validation import reject
from lookahead_sk.routing._approach import (
    Approach,
    Expectations,
    Floats32,
    Given,
    Prompts,
    RunEpoch,
    choose_blend,
    flat,
    routed,
    to_units,
)
from lookahead_sk.routing._axes import fit_axes, project
from lookahead_sk.routing._base import fit_temperature
from lookahead_sk.routing._criteria import difference_error
from lookahead_sk.routing._encoders import encode, load_encoder
from lookahead_sk.routing._facts import N_COMPONENTS, ResponseFacts, fit_facts
from lookahead_sk.routing._features import LexicalFeatures, fit_lexical
from lookahead_sk.routing._foresight import ReferenceResponses, keep_references, lengths_of
from lookahead_sk.routing._inputs import Floats, ScoreTable
from lookahead_sk.routing._later import View
from lookahead_sk.routing._local import Local, local_candidates
from lookahead_sk.routing._novelty import fit_novelty
from lookahead_sk.routing._settings import Settings, resolve_settings
from lookahead_sk.routing._training import (
    TrainingData,
    TrainingPlan,
    foresee_latents,
    train,
)

FEATURE_SHARES = (0.3, 3.0)
_FARTHEST = 1e6  # squares of larger features, and their sums, leave float32


class Observed(NamedTuple):
    """All that fit knows, checked and embedded."""

    features: Floats32  # (n, p), centred and scaled
    table: ScoreTable
    facts: Floats32 | None  # (n, K, r)
    fold: npt.NDArray[np.intp]  # (n,)
    unit_scores: Floats32
    settings: Settings
    attributes: dict[str, Any]  # what is already fitted


class EmbeddingApproach(Approach):
    """Facts about responses are foreseen from frozen features of the prompt."""

    def observe(self, given: Given, settings: Settings) -> Observed:
        """Embed prompts and responses."""
        router, seed = self.router, given.seed
        n = len(given.prompts)
        n_members = min(n, max(2, round(1 / router.validation_fraction)))
        embeddings = router._embed(given.prompts)
        lexical = None
        if not isinstance(given.prompts, np.ndarray):
            lexical = fit_lexical(given.prompts, router.lexical_features, seed)
        raw = _join(embeddings, lexical, given.prompts)
        center, scale = _scaling(raw)
        facts, values = self._fit_facts(given.responses, given.lengths, settings, seed)
        features = _scaled(raw, center, scale)
        attributes = given.attributes("embedding") | {
            "n_members_": n_members,
            "lexical_": lexical,
            "center_": center,
            "scale_": scale,
            "facts_": facts,
            "references_": None,
            "novelty_": fit_novelty(features, seed),
        }
        if given.responses is not None and facts is not None and values is not None:
            attributes["references_"] = keep_references(given.responses, values, facts, seed)
        return Observed(
            features=features,
            table=given.table,
            facts=values,
            fold=(np.random.RandomState(seed).permutation(n) % n_members).astype(np.intp),
            unit_scores=given.unit_scores(),
            settings=settings,
            attributes=attributes,
        )

    def _fit_facts(
        self, responses: Any, lengths: Floats | None, settings: Settings, seed: int
    ) -> tuple[ResponseFacts | None, Floats32 | None]:
        if responses is None or settings.response_weight == 0:
            return None, None
        if responses.dtype != object:
            return fit_facts(responses, None, lengths, seed)
        embeddings = self._embed_responses(responses.ravel(), settings)
        if embeddings is None:
            return None, None
        return fit_facts(embeddings.reshape(*responses.shape, -1), responses, lengths, seed)

    def _embed_responses(self, responses: npt.NDArray[Any], settings: Settings) -> Floats32 | None:
        """Embeddings (n, d), NaN where not observed; None where nothing was."""
        if responses.dtype != object:
            return responses
        is_observed = np.array([text is not None for text in responses])
        if not is_observed.any():
            return None
        model = load_encoder(self.router.encoder, self.router.device)
        vectors = encode(
            responses[is_observed].tolist(),
            model,
            show_progress=self.router.verbose > 1,
            max_tokens=settings.response_tokens,
        )
        embeddings = np.full((len(responses), vectors.shape[1]), np.nan, dtype=np.float32)
        embeddings[is_observed] = vectors
        return embeddings

    def fit(self, observed: Observed, run_epoch: RunEpoch) -> dict[str, Any]:
        """Train the network, then fit what needs held-out latents."""
        weights, history = train(
            self._training_data(observed),
            self._plan(observed),
            lambda work, kept: run_epoch(work, lambda: self._finish(observed, kept(), [])),
        )
        return self._finish(observed, weights, history)

    def _plan(self, observed: Observed) -> TrainingPlan:
        settings = observed.settings
        n_latent = N_COMPONENTS if observed.facts is None else observed.facts.shape[2]
        return TrainingPlan(
            n_members=observed.attributes["n_members_"],
            n_latent=n_latent,
            response_weight=settings.response_weight,
            learning_rate=settings.learning_rate,
            batch_size=settings.batch_size,
            max_epochs=settings.max_epochs,
            early_stopping=self.router.early_stopping,
            seed=observed.attributes["seed_"],
            verbose=self.router.verbose > 0,
        )

    def _training_data(self, observed: Observed) -> TrainingData:
        import torch

        device = resolve_device(self.router.device)
        facts = None if observed.facts is None else torch.from_numpy(observed.facts).to(device)
        return TrainingData(
            features=torch.from_numpy(observed.features).to(device),
            scores=torch.from_numpy(observed.unit_scores).to(device),
            facts=facts,
            fold=torch.from_numpy(observed.fold).to(device),
        )

    def _finish(self, observed: Observed, weights: Any, history: list[float]) -> dict[str, Any]:
        """Fit what needs held-out latents; return all attributes of the fitted router."""
        scores = observed.table.scores
        latents, logits = foresee_latents(
            weights, observed.features, resolve_device(self.router.device), observed.fold
        )
        kinds, feature_scale, local = _choose_kinds(observed, latents)
        network = to_units(logits, observed.attributes["score_range_"])
        blend = choose_blend(local, network, scores)
        quality = (1 - blend) * local + blend * network
        return observed.attributes | {
            "weights_": weights,
            "kinds_": kinds,
            "feature_scale_": feature_scale,
            "blend_": blend,
            "temperature_": fit_temperature(quality, scores),
            "validation_score_": float(np.nanmean(routed(quality, scores))),
            "validation_scores_": list(history),
            "n_iter_": len(history),
            "_n_features_out": latents[0].size,
        }

    def view(self, X: Prompts) -> View:
        """Features, latents and the network's quality."""
        router = self.router
        raw = _join(router._embed(X), router.lexical_, X)
        features = _scaled(raw, router.center_, router.scale_)
        device = resolve_device(router.device)
        latents, logits = foresee_latents(router.weights_, features, device)
        return View(
            space=_space(features, latents, router.feature_scale_),
            network=to_units(logits, router.score_range_),
            lengths=lengths_of(latents, router.facts_),
            latents=latents,
            features=features,
        )

    def expectations(self, X: Prompts, view: View) -> Expectations:
        """The training responses that are nearest to the foreseen ones."""
        references: ReferenceResponses | None = self.router.references_
        if references is None:
            raise ValueError(
                "foresee needs a router that was fitted with responses and response_weight > 0."
            )
        names = list(range(view.network.shape[1]))
        return references.nearest(view.latents, self.router.facts_, names)

    def embed_responses(self, responses: npt.NDArray[Any]) -> Floats32 | None:
        """Principal components of the responses' embeddings."""
        router = self.router
        if router.facts_ is None:
            return None
        settings = resolve_settings(router, router.n_prompts_)
        embeddings = self._embed_responses(responses, settings)
        if embeddings is None:
            return None
        if embeddings.shape[1] != len(router.facts_.center):
            accepted = f"of shape (n, {len(router.facts_.center)}), as those of fit"
            reject("responses", accepted, f"shape {embeddings.shape}")
        return router.facts_.project(embeddings)


def _join(embeddings: Floats32, lexical: LexicalFeatures | None, prompts: Any) -> Floats32:
    return embeddings if lexical is None else np.hstack([embeddings, lexical.transform(prompts)])


def _choose_kinds(observed: Observed, latents: Floats32) -> tuple[Local, float | None, Floats]:
    """The kinds that foresee best which model scores higher on prompts held out.

    Candidates are two grains, a few nearest neighbours and, where there are latents, two shares of
    the prompt's own features in the variance of the space. Returns the kinds, the scale of the
    features and the held-out quality (n, K).
    """
    scores, seed = observed.table.scores, observed.attributes["seed_"]
    scales: list[float | None] = [None]
    if observed.facts is not None:
        features = max(float(observed.features.var(axis=0).sum()), 1e-12)
        ratio = float(flat(latents).var(axis=0).sum()) / features
        scales = [float(np.sqrt(share * ratio)) for share in FEATURE_SHARES]
    candidates: list[tuple[float, Local, float | None, Floats]] = []
    for scale in scales:
        space = _space(observed.features, latents, scale)
        axes = fit_axes(space, seed)
        for kinds, held_out in local_candidates(project(space, axes), scores, seed, axes):
            error = difference_error(held_out, scores, np.ones(len(scores)))
            candidates.append((error, kinds, scale, held_out))
    _, kinds, scale, held_out = min(candidates, key=lambda candidate: candidate[0])
    return kinds, scale, held_out


def _space(features: Floats32, latents: Floats32, feature_scale: float | None) -> Floats32:
    """Where prompts are alike: what they will be answered, and a little what they ask.

    Without a response loss the latents say nothing, and the features stand alone.
    """
    if feature_scale is None:
        return features
    return np.hstack([flat(latents), np.float32(feature_scale) * features])


def _scaled(raw: Floats32, center: Floats32, scale: float) -> Floats32:
    """Features in units of their spread; a prompt beyond all measure is taken to be far off."""
    far = np.subtract(raw, center, dtype=np.float64) / scale
    return np.clip(far, -_FARTHEST, _FARTHEST).astype(np.float32)


def _scaling(raw: Floats32) -> tuple[Floats32, float]:
    """Mean of every feature, and one scale for all: embeddings keep their proportions."""
    center = raw.mean(axis=0, dtype=np.float64)
    rms = float(np.sqrt(raw.var(axis=0, dtype=np.float64).mean()))
    return center.astype(np.float32), rms if rms > 0 else 1.0
