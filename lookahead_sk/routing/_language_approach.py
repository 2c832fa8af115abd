"""The masked and the causal approach: a language model is fine-tuned to foresee responses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from lookahead_sk._device import resolve_device
from lookahead_sk.routing._approach import (
    Approach,
    Expectations,
    Floats32,
    Given,
    Prompts,
    RunEpoch,
    flat,
    routed,
    to_units,
)
from lookahead_sk.routing._base import fit_temperature
from lookahead_sk.routing._facts import ResponseFacts, fit_facts
from lookahead_sk.routing._features import fit_lexical
from lookahead_sk.routing._foresight import lengths_of
from lookahead_sk.routing._language_kinds import choose_local
from lookahead_sk.routing._later import View
from lookahead_sk.routing._lm._backbone import load_backbone
from lookahead_sk.routing._lm._checkpoint import Checkpoint, fingerprint
from lookahead_sk.routing._lm._network import (
    NETWORKS,
    NetworkState,
    add_lora,
    freeze,
    merge_lora,
    state_of,
)
from lookahead_sk.routing._lm._prediction import (
    expect_responses,
    foresee_prompts,
    resolve_precision,
)
from lookahead_sk.routing._lm._sequences import Responses, Tokens
from lookahead_sk.routing._lm._training import (
    LanguagePlan,
    LanguageTrainer,
    TrainingTexts,
    train_language_model,
)
from lookahead_sk.routing._lm._vocabulary import Vocabulary
from lookahead_sk.routing._novelty import fit_novelty
from lookahead_sk.routing._settings import DEFAULT_BACKBONES, Settings

MAX_LENGTH = 2048
N_LEXICAL = 64  # tf-idf features of a response, of which the facts keep principal components
PATIENCE = 5  # epochs without a better validation score; learning can begin late


class ObservedTexts(NamedTuple):
    """All that fit knows, checked and tokenised."""

    network: Any
    texts: TrainingTexts
    given: Given
    settings: Settings
    max_length: int
    facts: ResponseFacts | None


class LanguageApproach(Approach):
    """A fine-tuned backbone: hidden states where responses would stand are the latents."""

    @property
    def name(self) -> str:
        """``"masked"`` or ``"causal"``."""
        return str(getattr(self.router, "approach_", self.router.approach))

    def observe(self, given: Given, settings: Settings) -> ObservedTexts:
        """Load the backbone, tokenise everything."""

        router = self.router
        approach = router.approach
        model, vocabulary = load_backbone(router.backbone or DEFAULT_BACKBONES[approach], approach)
        is_foreseeing = given.responses is not None and settings.response_weight > 0
        facts, values = self._fit_facts(given, is_foreseeing)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(given.seed)
            network = NETWORKS[approach](
                model,
                vocabulary,
                n_models=len(given.table.classes),
                n_tokens=settings.response_tokens,
                n_facts=0 if values is None else values.shape[2],
                head=router.head,
            )
        network.initialise(torch.Generator().manual_seed(given.seed))
        max_length = _prompt_limit(network, router.max_length, settings.response_tokens)
        texts = TrainingTexts(
            prompts=vocabulary.encode_prompts(list(given.prompts), max_length),
            responses=_tokenise(given.responses, vocabulary, settings) if is_foreseeing else None,
            scores=given.unit_scores(),
            facts=values,
            is_held_out=_hold_out(len(given.prompts), router.validation_fraction, given.seed),
        )
        if router.lora_rank is not None:
            add_lora(network, router.lora_rank, given.seed)
        else:
            freeze(network, router.n_frozen_layers, is_foreseeing)
        with torch.no_grad():  # start from what each model scores on average
            seen = torch.from_numpy(texts.scores)
            network.heads.level.copy_(torch.logit(seen.nanmean(dim=0), eps=1e-3))
        return ObservedTexts(network, texts, given, settings, max_length, facts)

    def _fit_facts(
        self, given: Given, is_foreseeing: bool
    ) -> tuple[ResponseFacts | None, Floats32 | None]:
        """Facts as the embedding approach foresees them, what is said told by tf-idf."""
        if not is_foreseeing or self.router.fact_weight == 0 or given.responses is None:
            return None, None
        observed = np.array([text is not None for text in given.responses.ravel()])
        texts = given.responses.ravel()[observed].tolist()
        lexical = fit_lexical(texts, N_LEXICAL, given.seed)
        if lexical is None:
            return None, None
        rows = np.full((observed.size, lexical.axes.shape[1]), np.nan, dtype=np.float32)
        rows[observed] = lexical.transform(texts)
        embeddings = rows.reshape(*given.responses.shape, -1)
        return fit_facts(embeddings, given.responses, given.lengths, given.seed)

    def fit(self, observed: ObservedTexts, run_epoch: RunEpoch) -> dict[str, Any]:
        """Fine-tune, then fit what needs held-out latents."""
        router = self.router
        device = resolve_device(router.device)
        plan = self._plan(observed, resolve_precision(router.dtype, device))
        if router.compile:
            observed.network.language_model.trunk.compile(dynamic=True)
        trainer = LanguageTrainer(
            observed.network, observed.texts, plan, device, self._checkpoint(observed, plan)
        )

        def finish(network: Any, history: list[float]) -> dict[str, Any]:
            if router.lora_rank is not None:
                merge_lora(network)
            return self._finish(observed, state_of(network, router.approach), history)

        history = train_language_model(
            trainer, lambda work: run_epoch(work, lambda: finish(trainer.snapshot(), []))
        )
        return finish(observed.network, history)

    def _plan(self, observed: ObservedTexts, precision: str) -> LanguagePlan:
        settings = observed.settings
        return LanguagePlan(
            response_weight=settings.response_weight,
            fact_weight=self.router.fact_weight,
            learning_rate=settings.learning_rate,
            batch_size=settings.batch_size,
            max_epochs=settings.max_epochs,
            early_stopping=self.router.early_stopping,
            patience=PATIENCE,
            precision=precision,
            seed=observed.given.seed,
            verbose=self.router.verbose > 0,
        )

    def _checkpoint(self, observed: ObservedTexts, plan: LanguagePlan) -> Checkpoint | None:
        folder = self.router.checkpoint_folder
        if folder is None:
            return None
        texts = observed.texts
        shapes = {name: list(p.shape) for name, p in observed.network.named_parameters()}
        trained = [name for name, p in observed.network.named_parameters() if p.requires_grad]
        name = fingerprint(
            self.router.approach,
            self.router.head,
            {k: v for k, v in vars(plan).items() if k != "verbose"},
            texts.prompts,
            texts.responses,
            texts.scores.tobytes(),
            b"" if texts.facts is None else texts.facts.tobytes(),
            texts.is_held_out.tobytes(),
            shapes,
            trained,
        )
        return Checkpoint(Path(folder), name)

    def _finish(
        self, observed: ObservedTexts, state: NetworkState, history: list[float]
    ) -> dict[str, Any]:
        """Fit kinds, blend and temperature on held-out prompts; return all fitted attributes."""
        given, held_out = observed.given, observed.texts.is_held_out
        device = resolve_device(self.router.device)
        precision = resolve_precision(self.router.dtype, device)
        latents, logits, facts = foresee_prompts(
            state.network(device), observed.texts.prompts, device, precision
        )
        space = flat(facts if observed.facts is not None else latents)
        network = to_units(logits, given.score_range)
        kinds, blend, quality = choose_local(
            space, network, given.table.scores, held_out, given.seed
        )
        scores = given.table.scores[held_out]
        return given.attributes(self.router.approach) | {
            "network_": state,
            "max_length_": observed.max_length,
            "facts_": observed.facts,
            "kinds_": kinds,
            "blend_": blend,
            "n_members_": 1,
            "novelty_": fit_novelty(flat(latents), given.seed, held_out),
            "temperature_": fit_temperature(quality, scores),
            "validation_score_": float(np.nanmean(routed(quality, scores))),
            "validation_scores_": list(history),
            "n_iter_": len(history),
            "_n_features_out": latents[0].size,
        }

    def _foresee(self, X: Prompts) -> tuple[Floats32, Floats32, Floats32]:
        """Latents (n, K, d), quality logits (n, K) and facts (n, K, r)."""
        return foresee_prompts(*self._ready(X))

    def _ready(self, X: Prompts) -> tuple[Any, list[Tokens], torch.device, str]:
        """Network, tokens of the prompts, device and precision."""
        router = self.router
        device = resolve_device(router.device)
        state: NetworkState = router.network_
        prompts = state.vocabulary.encode_prompts(list(X), router.max_length_)
        return state.network(device), prompts, device, resolve_precision(router.dtype, device)

    def view(self, X: Prompts) -> View:
        """Hidden states where the responses would stand, and the network's quality."""
        router = self.router
        latents, logits, facts = self._foresee(X)
        return View(
            space=flat(facts if facts.shape[2] else latents),
            network=to_units(logits, router.score_range_),
            lengths=lengths_of(facts, router.facts_),
            latents=latents,
            features=flat(latents),
        )

    def expectations(self, X: Prompts, view: View) -> Expectations:
        """What the language model itself expects every model to begin with."""
        vocabulary: Vocabulary = self.router.network_.vocabulary
        tokens = expect_responses(*self._ready(X))
        lengths = view.lengths
        return [
            {
                k: {
                    "response": vocabulary.decode(begin),
                    "row": None,
                    "similarity": None,
                    "length": None if lengths is None else float(lengths[i, k]),
                }
                for k, begin in enumerate(tokens[i])
            }
            for i in range(len(tokens))
        ]


def _prompt_limit(network: Any, max_length: int | None, response_tokens: int) -> int:
    """Tokens of a prompt: what was asked for, as far as the architecture has positions."""
    from lookahead_sk._validation import reject

    limit: int | None = network.max_prompt
    if limit is not None and limit < 1:
        accepted = f"at most {response_tokens + limit - 1}, for the positions that backbone has"
        reject("response_tokens", accepted, response_tokens)
    wanted = MAX_LENGTH if max_length is None else max_length
    return wanted if limit is None else min(wanted, limit)


def _tokenise(
    responses: npt.NDArray[Any] | None, vocabulary: Vocabulary, settings: Settings
) -> Responses | None:
    if responses is None:
        return None
    cells = responses.ravel().tolist()
    ids = vocabulary.encode_starts(
        ["" if cell is None else cell for cell in cells], settings.response_tokens
    )
    flat_ids = [None if cell is None else tokens for cell, tokens in zip(cells, ids, strict=True)]
    n_models = responses.shape[1]
    return [flat_ids[i : i + n_models] for i in range(0, len(flat_ids), n_models)]


def _hold_out(n: int, fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """A random share of the prompts, at least one and not all."""
    n_held_out = min(n - 1, max(1, round(n * fraction)))
    is_held_out = np.zeros(n, dtype=bool)
    is_held_out[np.random.RandomState(seed).permutation(n)[:n_held_out]] = True
    return is_held_out
