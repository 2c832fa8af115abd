"""Any Hugging Face language model as a trunk with a vocabulary head."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lookahead_sk._validation import Words, reject
from lookahead_sk.routing._language_model._tokenizer import Vocabulary, read_vocabulary

AUTO_CLASSES = {"masked": "AutoModelForMaskedLM", "causal": "AutoModelForCausalLM"}
ACCEPTED = "a model name, a path, or a pair (model, tokenizer)"


class TiedHead(nn.Module):
    """A vocabulary head for a trunk that has none, tied to its input embeddings."""

    def __init__(self, width: int, n_vocabulary: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width, dtype=torch.float32)
        self.norm = nn.LayerNorm(width, dtype=torch.float32)
        self.bias = nn.Parameter(torch.zeros(n_vocabulary, dtype=torch.float32))

    def forward(self, hidden: Tensor, embeddings: Tensor) -> Tensor:
        """Logits (N, V) of hidden states (N, d)."""
        hidden = self.norm(nn.functional.gelu(self.dense(hidden)))
        # At the scale of a pretrained decoder, whose rows have a small norm.
        return nn.functional.linear(hidden, embeddings, self.bias)


def _own_head(model: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """The vocabulary head that a masked or causal language model came with."""
    for name in ("cls", "lm_head", "predictions", "embed_out"):
        if isinstance(getattr(model, name, None), nn.Module):
            return getattr(model, name)
    if hasattr(model, "head") and hasattr(model, "decoder"):  # ModernBERT
        return lambda hidden: model.decoder(model.head(hidden))  # type: ignore[operator]
    if hasattr(model, "vocab_projector"):  # DistilBERT
        return lambda hidden: model.vocab_projector(  # type: ignore[operator]
            model.vocab_layer_norm(model.activation(model.vocab_transform(hidden)))  # type: ignore[operator]
        )
    return None


class LanguageModel(nn.Module):
    """A trunk and its vocabulary head.

    Parameters
    ----------
    model : PreTrainedModel
        With a vocabulary head, or the trunk alone, which then gets a `TiedHead`.

    Attributes
    ----------
    takes : frozenset of str
        Names of what the trunk can be given.
    cache_name : str or None
        Name of the key/value cache, as an argument of the trunk and in its output; transformers
        5.24 renamed it.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.has_own_head = model.base_model is not model and _own_head(model) is not None
        if getattr(self.trunk, "pooler", None) is not None:
            self.trunk.pooler = None  # not used, not trained
        self.takes = frozenset(inspect.signature(self.trunk.forward).parameters)
        self.cache_name = next((n for n in ("cache", "past_key_values") if n in self.takes), None)
        self.tied = None if self.has_own_head else TiedHead(self.width, self.n_vocabulary)

    @property
    def trunk(self) -> Any:
        """The model without its vocabulary head."""
        return self.model.base_model

    @property
    def config(self) -> Any:
        """The configuration of the model."""
        return self.model.config

    @property
    def width(self) -> int:
        """Size of a token's embedding."""
        return int(self.trunk.get_input_embeddings().weight.shape[1])

    @property
    def n_vocabulary(self) -> int:
        """Number of tokens."""
        return int(self.trunk.get_input_embeddings().weight.shape[0])

    @property
    def max_positions(self) -> int | None:
        """Positions that the architecture knows, None where there is no limit."""
        limit = getattr(self.config, "max_position_embeddings", None)
        return None if limit is None else int(limit) - self.first_position

    @property
    def first_position(self) -> int:
        """Position of the first token: RoBERTa and its kin begin after the padding index."""
        embeddings = getattr(self.trunk, "embeddings", None)
        counts_from_padding = hasattr(embeddings, "create_position_ids_from_inputs_embeds")
        return int(embeddings.padding_idx) + 1 if counts_from_padding else 0  # type: ignore[union-attr]

    def embed(self, tokens: Tensor) -> Tensor:
        """Input embeddings, scaled where the architecture scales them."""
        return self.trunk.get_input_embeddings()(tokens)

    def vocabulary_logits(self, hidden: Tensor) -> Tensor:
        """Logits (N, V) of hidden states (N, d)."""
        if self.tied is not None:
            return self.tied(hidden, self.trunk.get_input_embeddings().weight)
        logits = _own_head(self.model)(hidden)  # type: ignore[misc]
        cap = getattr(self.config, "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' reports of weights that are not needed here."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    has_bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bar:
            logging.enable_progress_bar()


def check_backbone(backbone: Any) -> None:
    """Raise ``TypeError`` for a ``backbone`` that is neither a name, a path nor a pair."""
    if isinstance(backbone, str | os.PathLike) and os.fspath(backbone):
        return
    is_pair = isinstance(backbone, tuple | list) and len(backbone) == 2
    if not is_pair or not hasattr(backbone[0], "config") or not callable(backbone[1]):
        reject("backbone", ACCEPTED, backbone, kind=TypeError)


def load_backbone(backbone: Any, approach: str) -> tuple[LanguageModel, Vocabulary]:
    """Load a backbone, or copy one that was given loaded.

    Parameters
    ----------
    backbone : str, path or (model, tokenizer)
        See `MaskedLookaheadRouter` and `CausalLookaheadRouter`.
    approach : {"masked", "causal"}
        Which kind of vocabulary head is looked for.

    Returns
    -------
    model : LanguageModel
        In float32, on the CPU; never the object that was given.
    vocabulary : Vocabulary
        Its tokenizer.

    Raises
    ------
    OSError
        If it is not on disk and the hub cannot be reached.
    """
    check_backbone(backbone)
    if isinstance(backbone, tuple | list):
        model, tokenizer = backbone
        if getattr(model, "is_quantized", False):
            reject(
                "backbone",
                "a model in floating point, which can be trained",
                Words("a quantized one"),
            )
        model = copy.deepcopy(model).float().cpu()
        if model.base_model is not model and _own_head(model) is None:
            model = model.base_model  # a classifier, say: its head is of no use here
    else:
        model, tokenizer = _load(os.fspath(backbone), approach)
    _use_masked_attention(model)
    vocabulary = read_vocabulary(tokenizer)
    _check_special_tokens(vocabulary, approach, backbone)
    return LanguageModel(model), vocabulary


def _use_masked_attention(model: Any) -> None:
    """Flash attention knows no masks by position: take torch's own, or the plain one."""
    is_known = model.config._attn_implementation in ("sdpa", "eager")
    if not is_known:
        model.set_attn_implementation("sdpa")


def _check_special_tokens(vocabulary: Vocabulary, approach: str, backbone: Any) -> None:
    if approach == "masked" and (vocabulary.cls is None or vocabulary.sep is None):
        accepted = "a masked language model, with [CLS] and [SEP]"
        reject("backbone", accepted, backbone)


def _load(source: str, approach: str) -> tuple[Any, Any]:
    import transformers

    # What lies on this disk is not asked for at the hub.
    options: dict[str, Any] = {"local_files_only": os.path.isdir(source)}
    try:
        with _quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
            model = _load_model(source, approach, options | {"dtype": torch.float32})
    except Exception as error:
        raise OSError(
            f"backbone {source!r} could not be loaded: it is not a folder on this machine and no "
            "model hub gave it, its files are damaged, or transformers does not know its "
            f"architecture. ({type(error).__name__}: {error})"
        ) from error
    return model, tokenizer


def _load_model(source: str, approach: str, options: dict[str, Any]) -> Any:
    import transformers

    with_head = getattr(transformers, AUTO_CLASSES[approach])
    try:
        model, report = with_head.from_pretrained(source, output_loading_info=True, **options)
    except ValueError:  # the architecture has no such head
        return transformers.AutoModel.from_pretrained(source, **options)
    prefix = model.base_model_prefix + "."
    if any(not key.startswith(prefix) for key in report["missing_keys"]):
        return model.base_model  # its head would be a random one
    return model


def build_language_model(config: dict[str, Any], approach: str, has_own_head: bool) -> Any:
    """A model of a known architecture with unset weights; never code from elsewhere."""
    import transformers
    from transformers.initialization import no_init_weights

    # These can name code, or kernels to be fetched.
    config = {
        k: v
        for k, v in config.items()
        if k not in ("auto_map", "quantization_config") and "implementation" not in k
    }
    known = transformers.AutoConfig.for_model(**config)
    auto = getattr(transformers, AUTO_CLASSES[approach] if has_own_head else "AutoModel")
    with no_init_weights(), _quiet():
        model = auto.from_config(known, dtype=torch.float32, trust_remote_code=False)
    model.tie_weights()
    return model
