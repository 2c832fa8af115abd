"""How a language model is fitted to prompts, scores and responses, masked or causal."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from lookahead_sk._device import resolve_device, resolve_precision
from lookahead_sk._typing import BoolArray, Float32Array, FloatArray
from lookahead_sk._validation import (
    Words,
    check_bool,
    check_choice,
    check_float,
    check_int,
    reject,
)
from lookahead_sk.routing._checks import FitData
from lookahead_sk.routing._features._lexical import fit_lexical
from lookahead_sk.routing._features._response_descriptors import (
    ResponseDescriptors,
    fit_descriptors,
)
from lookahead_sk.routing._language_model._adapters import add_lora, freeze, merge_lora
from lookahead_sk.routing._language_model._backbone import check_backbone, load_backbone
from lookahead_sk.routing._language_model._checkpoint import Checkpoint, fingerprint
from lookahead_sk.routing._language_model._prediction import predict_prompts
from lookahead_sk.routing._language_model._predictor import LanguageModelPredictor, search_space
from lookahead_sk.routing._language_model._processes import Processes
from lookahead_sk.routing._language_model._sequences import Responses
from lookahead_sk.routing._language_model._state import NETWORKS, state_of
from lookahead_sk.routing._language_model._tokenizer import Vocabulary
from lookahead_sk.routing._language_model._training import (
    LanguagePlan,
    LanguageTrainer,
    TrainingTexts,
)
from lookahead_sk.routing._local_average._selection import choose_beside_network
from lookahead_sk.routing._novelty import fit_novelty
from lookahead_sk.routing._predictor import Predictor, in_score_units, new_predictor

MAX_LENGTH = 2048
N_LEXICAL = 64  # tf-idf features of a response, of which descriptors keep principal components
PATIENCE = 5  # epochs without a better validation score; learning can begin late


def check_language_parameters(router: Any) -> None:
    """Raise for a parameter of a fine-tuned router that is wrong, whatever it is fitted on."""
    if router.backbone is not None:
        check_backbone(router.backbone)
    check_float(router.response_weight, "response_weight", low=0, closed="left")
    check_float(router.descriptor_weight, "descriptor_weight", low=0, closed="left")
    check_float(router.learning_rate, "learning_rate", low=0, closed="neither")
    for name in ("response_tokens", "max_epochs", "batch_size"):
        check_int(getattr(router, name), name, low=1)
    for name in ("max_length", "lora_rank"):
        if getattr(router, name) is not None:
            check_int(getattr(router, name), name, low=1)
    check_int(router.n_frozen_layers, "n_frozen_layers", low=0)
    check_float(router.validation_fraction, "validation_fraction", 0, 0.5, closed="right")
    check_bool(router.early_stopping, "early_stopping")
    check_choice(router.dtype, "dtype", ["auto", "float32", "bfloat16"])
    if router.dtype == "bfloat16" and resolve_device(router.device).type == "mps":
        reject("dtype", "'auto' or 'float32' on an MPS device", router.dtype)
    folder = router.checkpoint_folder
    if folder is not None and not (isinstance(folder, str | os.PathLike) and os.fspath(folder)):
        reject("checkpoint_folder", "None or a path", folder, kind=TypeError)


class LanguageInputs(NamedTuple):
    """All that is trained on: checked and tokenised."""

    data: FitData
    network: Any
    texts: TrainingTexts
    max_length: int
    descriptors: ResponseDescriptors | None


def start_training(
    router: Any, data: FitData, approach: str, backbone: Any, head: str
) -> LanguageTraining:
    """Load the backbone, tokenise everything, and be ready for the first epoch.

    Parameters
    ----------
    router : MaskedLookaheadRouter or CausalLookaheadRouter
        Its parameters are read.
    data : FitData
        What it is fitted on.
    approach : {"masked", "causal"}
        Which network.
    backbone : str, path or (model, tokenizer)
        What is fine-tuned.
    head : {"pooled", "cls"}
        See `Heads`.
    """
    if data.cell_weight is not None:
        reject("cell_weight", "None where a language model is fine-tuned", Words("weights"))
    data = data._replace(seed=Processes().agreed(data.seed))
    model, vocabulary = load_backbone(backbone, approach)
    uses_responses = data.responses is not None and router.response_weight > 0
    descriptors, values = _fit_descriptors(data, router.descriptor_weight, uses_responses)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(data.seed)
        network = NETWORKS[approach](
            model,
            vocabulary,
            n_models=len(data.table.classes),
            n_tokens=int(router.response_tokens),
            n_descriptors=0 if values is None else values.shape[2],
            head=head,
        )
    network.initialise(torch.Generator().manual_seed(data.seed))
    max_length = _prompt_limit(network, router.max_length, router.response_tokens)
    responses = data.responses if uses_responses else None
    texts = TrainingTexts(
        prompts=vocabulary.encode_prompts(list(data.prompts), max_length),
        responses=None
        if responses is None
        else _tokenise(responses, vocabulary, int(router.response_tokens)),
        scores=data.unit_scores(),
        descriptors=values,
        is_held_out=_hold_out(len(data.prompts), router.validation_fraction, data.seed),
    )
    if router.lora_rank is not None:
        add_lora(network, router.lora_rank, data.seed)
    else:
        freeze(network, router.n_frozen_layers, uses_responses)
    with torch.no_grad():  # start from what each model scores on average
        seen = torch.from_numpy(texts.scores)
        network.heads.level.copy_(torch.logit(seen.nanmean(dim=0), eps=1e-3))
    inputs = LanguageInputs(data, network, texts, max_length, descriptors)
    return LanguageTraining(router, inputs, approach, head)


def backbone_shown(router: Any) -> str:
    """What the prompts are read by, for the model card."""
    network = router.predictor_.network
    config = getattr(network, "language", network).state.config  # of a stack of two, say
    kind = f"a fine-tuned {config.get('model_type', 'unknown')} backbone"
    return f"{kind}, {router.backbone}" if isinstance(router.backbone, str) else kind


def _fit_descriptors(
    data: FitData, weight: float, uses_responses: bool
) -> tuple[ResponseDescriptors | None, Float32Array | None]:
    """Descriptors as `LookaheadRouter` predicts them; what is said is told by tf-idf."""
    if not uses_responses or weight == 0 or data.responses is None:
        return None, None
    observed = np.array([text is not None for text in data.responses.ravel()])
    texts = data.responses.ravel()[observed].tolist()
    lexical = fit_lexical(texts, N_LEXICAL, data.seed)
    if lexical is None:
        return None, None
    rows = np.full((observed.size, lexical.axes.shape[1]), np.nan, dtype=np.float32)
    rows[observed] = lexical.transform(texts)
    embeddings = rows.reshape(*data.responses.shape, -1)
    return fit_descriptors(embeddings, data.responses, data.lengths, data.seed)


class LanguageTraining:
    """The training of a fine-tuned router in progress.

    Attributes
    ----------
    quality : ndarray of shape (v, K)
        Of the held-out prompts; of the predictor that was made last.
    may_blend : bool
        Whether the network may have a share beside a local average.
    """

    quality: FloatArray
    may_blend: bool = True

    def __init__(self, router: Any, inputs: LanguageInputs, approach: str, head: str) -> None:
        self.inputs = inputs
        self.approach = approach
        self.has_lora = router.lora_rank is not None
        self.device = resolve_device(router.device)
        self.precision = resolve_precision(router.dtype, self.device)
        plan = _plan(router, inputs.data.seed, self.precision)
        self.max_epochs = plan.max_epochs
        checkpoint = None
        if router.checkpoint_folder is not None:
            name = Processes().agreed(_fingerprint(inputs, plan, approach, head))
            checkpoint = Checkpoint(Path(router.checkpoint_folder), name)
        self.trainer = LanguageTrainer(inputs.network, inputs.texts, plan, self.device, checkpoint)
        self.device = self.trainer.device

    @property
    def is_over(self) -> bool:
        """Whether there is no further epoch."""
        return self.trainer.is_over

    def run_epoch(self) -> None:
        """Train for one epoch."""
        self.trainer.run_epoch()

    def predictor(self) -> Predictor:
        """What the router would be if training stopped now; training goes on undisturbed."""
        return self._predictor(self.trainer.snapshot())

    def finish(self) -> Predictor:
        """End the training."""
        self.trainer.finish()
        return self._predictor(self.inputs.network)

    def _predictor(self, trained: Any) -> Predictor:
        """Fit local average, blend and temperature on held-out prompts."""
        inputs, data = self.inputs, self.inputs.data
        held_out, scores = inputs.texts.is_held_out, data.table.scores
        if self.has_lora:
            merge_lora(trained)
        state = state_of(trained, self.approach)
        latents, logits, descriptors = predict_prompts(
            state.network(self.device), inputs.texts.prompts, self.device, self.precision
        )
        if not (np.isfinite(latents).all() and np.isfinite(logits).all()):
            raise FloatingPointError(
                "The fine-tuned backbone gives numbers that are not finite. Give a smaller "
                "learning_rate, or dtype='float32'."
            )
        own = in_score_units(logits, data.score_range)
        average, blend, self.quality = choose_beside_network(
            search_space(latents, descriptors),
            own,
            scores,
            held_out,
            data.seed,
            may_blend=self.may_blend,
        )
        network = LanguageModelPredictor(
            state, inputs.max_length, data.score_range, inputs.descriptors
        )
        novelty = fit_novelty(latents.reshape(len(latents), -1), data.seed, held_out)
        losses = self.trainer.losses
        return new_predictor(data, network, average, blend, self.quality, held_out, novelty, losses)


def _plan(router: Any, seed: int, precision: str) -> LanguagePlan:
    return LanguagePlan(
        response_weight=float(router.response_weight),
        descriptor_weight=float(router.descriptor_weight),
        learning_rate=float(router.learning_rate),
        batch_size=int(router.batch_size),
        max_epochs=int(router.max_epochs),
        early_stopping=bool(router.early_stopping),
        patience=PATIENCE,
        precision=precision,
        seed=seed,
        verbose=router.verbose > 0,
    )


def _fingerprint(inputs: LanguageInputs, plan: LanguagePlan, approach: str, head: str) -> str:
    """Name of a training: the same data and parameters have the same one."""
    texts = inputs.texts
    weights = hashlib.sha256()  # of the backbone as it was given
    for _, parameter in inputs.network.named_parameters():
        weights.update(parameter.detach().contiguous().numpy().tobytes())
    shapes = {name: list(p.shape) for name, p in inputs.network.named_parameters()}
    trained = [name for name, p in inputs.network.named_parameters() if p.requires_grad]
    return fingerprint(
        approach,
        head,
        {k: v for k, v in vars(plan).items() if k != "verbose"},
        texts.prompts,
        texts.responses,
        texts.scores.tobytes(),
        b"" if texts.descriptors is None else texts.descriptors.tobytes(),
        texts.is_held_out.tobytes(),
        shapes,
        trained,
        weights.hexdigest(),
    )


def _prompt_limit(network: Any, max_length: int | None, response_tokens: int) -> int:
    """Tokens of a prompt: what was asked for, as far as the architecture has positions."""
    limit: int | None = network.max_prompt
    if limit is not None and limit < 1:
        accepted = f"at most {response_tokens + limit - 1}, for the positions that backbone has"
        reject("response_tokens", accepted, response_tokens)
    wanted = MAX_LENGTH if max_length is None else max_length
    return wanted if limit is None else min(wanted, limit)


def _tokenise(responses: npt.NDArray[Any], vocabulary: Vocabulary, n_tokens: int) -> Responses:
    """Tokens of the first part of every response (n, K), None where not observed."""
    cells = responses.ravel().tolist()
    ids = vocabulary.encode_starts(["" if cell is None else cell for cell in cells], n_tokens)
    flat_ids = [None if cell is None else tokens for cell, tokens in zip(cells, ids, strict=True)]
    n_models = responses.shape[1]
    return [flat_ids[i : i + n_models] for i in range(0, len(flat_ids), n_models)]


def _hold_out(n: int, fraction: float, seed: int) -> BoolArray:
    """A random share of the prompts, at least one and not all."""
    n_held_out = min(n - 1, max(1, round(n * fraction)))
    is_held_out = np.zeros(n, dtype=bool)
    is_held_out[np.random.RandomState(seed).permutation(n)[:n_held_out]] = True
    return is_held_out
