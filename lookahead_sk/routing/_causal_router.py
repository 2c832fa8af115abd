"""CausalLookaheadRouter: a causal language model is fine-tuned to predict the responses."""

from __future__ import annotations

from typing import Any

from lookahead_sk.routing._checks import FitData
from lookahead_sk.routing._language_model._fitting import (
    check_language_parameters,
    start_training,
)
from lookahead_sk.routing._language_model._predictor import LanguageModelPredictor
from lookahead_sk.routing._lookahead import BaseLookaheadRouter, Training
from lookahead_sk.routing._stacked import StackedNetwork, StackedOptions
from lookahead_sk.routing._stacking import beside_frozen, check_frozen_encoder, reads

DEFAULT_BACKBONE = "HuggingFaceTB/SmolLM2-135M"


class CausalLookaheadRouter(BaseLookaheadRouter):
    """Route prompts by a causal language model that predicts every model's response.

    A causal language model reads the prompt once, followed by a token of its own for every model,
    and is fine-tuned to begin each model's response. The hidden state at that token is the latent
    of the model, on which it is scored: the paper's causal approach. It wants a GPU or patience;
    `LookaheadRouter` learns within a minute or so on a CPU.

    Parameters
    ----------
    backbone : None, str, path or (model, tokenizer), default=None
        The language model that is fine-tuned: a hub name, a folder, or a loaded Hugging Face model
        with its fast tokenizer, which is copied. None is the paper's, HuggingFaceTB/SmolLM2-135M.
    encoder : None, str, path, SentenceTransformer or "drop", default=None
        A frozen sentence encoder beside the backbone, as `LookaheadRouter` takes it: a router on it
        is fitted to the same prompts, and held-out prompts decide how much each of the two says.
        ``"drop"`` leaves it out.
    response_weight : float, default=0.5
        Weight of the response loss against the routing loss. 0 turns lookahead off: the latents
        then carry only what the scores teach.
    descriptor_weight : float, default=0.0
        Weight, within the response loss, of the response descriptors that `LookaheadRouter`
        predicts (what the response says, its length, its form, agreement).
    response_tokens : int, default=64
        How many first tokens of every response are learned from.
    max_length : int or None, default=None
        Tokens of a prompt that are read; None is 2048, as far as the backbone has positions. Of a
        longer prompt both ends are read.
    max_epochs : int, default=2
        Most passes over the training prompts.
    batch_size : int, default=32
        Prompts in a training step, which is cut into as many passes as memory asks for.
    learning_rate : float, default=5e-5
        Of AdamW, with a cosine schedule. What is new to the backbone (heads, the models' tokens)
        learns ten times as fast.
    validation_fraction : float, default=0.2
        Share of the training prompts that is held out; on these, training is stopped early, and
        local average, blend and temperature are fitted.
    early_stopping : bool, default=True
        Keep the weights of the epoch that does best on held-out prompts, and stop when none has
        been better for 5 epochs. False trains ``max_epochs`` epochs and keeps the last.
    n_frozen_layers : int, default=0
        Lowest layers of the backbone that are not trained; with any, its embeddings are not either.
    lora_rank : int or None, default=None
        Train low-rank corrections (LoRA) of the backbone instead of the backbone; needs
        ``lookahead-sk[lora]``.
    checkpoint_folder : path or None, default=None
        Where training is kept as it goes on: a fit with the same data and parameters that was
        killed continues from there. Fits of any number may share the folder.
    costs : array-like of shape (K,), mapping of model to cost, or None, default=None
        Price of each model, see ``cost_unit``; or a `TokenPrice` of each, with
        ``cost_unit="length"`` and ``response_lengths`` in tokens.
    cost_weight : float, default=0.0
        Utility is quality minus ``cost_weight`` times cost, in units of ``y`` per unit of cost;
        `tune_cost` sets it.
    cost_unit : {"call", "length"}, default="call"
        What a price is for: one call, or one unit of the response's length, which is predicted (in
        characters, or in the unit of ``response_lengths``).
    fallback : label or None, default=None
        Model that `predict` takes for prompts unlike the training prompts, see `is_novel`.
    novelty_level : float, default=0.01
        Share of prompts like those of the training that are flagged as novel all the same.
    device : {"auto", "cpu", "cuda", "cuda:N", "mps"} or torch.device, default="auto"
        Where the backbone runs; ``"auto"`` is CUDA when there is a GPU.
    dtype : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the backbone; "auto" is bfloat16 (by autocast) on a GPU that has it, else
        float32.
    random_state : int, RandomState instance or None, default=None
        Makes ``fit`` reproducible on one machine.
    verbose : int, default=0
        1 shows the progress of training.

    Attributes
    ----------
    predictor_ : Predictor
        The fitted state: plain data that a prediction reads at once and an update replaces.
    classes_ : ndarray of shape (K,)
        Names of the models: the columns of ``y``, or 0 to K - 1, or the labels.
    mean_scores_ : ndarray of shape (K,)
        Mean score of every model.
    n_prompts_ : int
        Prompts learned from, those held out included.
    n_iter_ : int
        Epochs trained.
    validation_losses_ : list of float
        Held-out loss after each epoch; less is better.
    validation_score_ : float
        Mean score of the held-out training prompts, as routed with ``cost_weight=0``; more is
        better.
    blend_ : float
        Share of what is no average over similar prompts of the fine-tuned latents: of the router on
        the frozen encoder; with ``encoder="drop"`` of the network's own score, which has one only
        where that routes held-out prompts significantly better.
    temperature_ : float
        Of `predict_proba`, in the units of ``y``.

    See Also
    --------
    LookaheadRouter : A frozen sentence encoder and a small network: the default.
    MaskedLookaheadRouter : A masked language model is fine-tuned.

    Notes
    -----
    X is always text: what the inherited methods say of ``encoder="passthrough"`` is for
    `LookaheadRouter`.

    References
    ----------
    .. [1] Huang, Shi, Zhu, Chen, Quan, "Lookahead Routing for Large Language Models", NeurIPS 2025,
       arXiv 2510.19506, the causal approach.

    Examples
    --------
    A backbone without pretrained weights, to show the calls; give a hub name or a path instead, and
    leave ``encoder`` as it is.

    >>> from lookahead_sk import CausalLookaheadRouter
    >>> from lookahead_sk.datasets import make_routing
    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    >>> words = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[MASK]": 3, "[PAD]": 4, "What": 5, "is": 6}
    >>> raw = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    >>> raw.pre_tokenizer = pre_tokenizers.Whitespace()
    >>> tokenizer = PreTrainedTokenizerFast(
    ...     tokenizer_object=raw,
    ...     unk_token="[UNK]",
    ...     cls_token="[CLS]",
    ...     sep_token="[SEP]",
    ...     mask_token="[MASK]",
    ...     pad_token="[PAD]",
    ...     eos_token="[SEP]",
    ... )
    >>> config = LlamaConfig(
    ...     vocab_size=7, hidden_size=8, num_hidden_layers=1, num_attention_heads=1
    ... )
    >>> data = make_routing(40, random_state=0)
    >>> router = CausalLookaheadRouter(
    ...     (LlamaForCausalLM(config), tokenizer),
    ...     encoder="drop",
    ...     max_epochs=1,
    ...     max_length=16,
    ...     random_state=0,
    ... )
    >>> router.fit(data.prompts, data.scores, responses=data.responses).predict_quality(
    ...     data.prompts[:2]
    ... ).shape
    (2, 6)
    """

    _options_type = StackedOptions
    _network_type = (LanguageModelPredictor, StackedNetwork)

    def __init__(
        self,
        backbone: Any = None,
        *,
        encoder: Any = None,
        response_weight: float = 0.5,
        descriptor_weight: float = 0.0,
        response_tokens: int = 64,
        max_length: int | None = None,
        max_epochs: int = 2,
        batch_size: int = 32,
        learning_rate: float = 5e-5,
        validation_fraction: float = 0.2,
        early_stopping: bool = True,
        n_frozen_layers: int = 0,
        lora_rank: int | None = None,
        checkpoint_folder: Any = None,
        costs: Any = None,
        cost_weight: float = 0.0,
        cost_unit: str = "call",
        fallback: Any = None,
        novelty_level: float = 0.01,
        device: Any = "auto",
        dtype: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.backbone = backbone
        self.encoder = encoder
        self.response_weight = response_weight
        self.descriptor_weight = descriptor_weight
        self.response_tokens = response_tokens
        self.max_length = max_length
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.n_frozen_layers = n_frozen_layers
        self.lora_rank = lora_rank
        self.checkpoint_folder = checkpoint_folder
        self.costs = costs
        self.cost_weight = cost_weight
        self.cost_unit = cost_unit
        self.fallback = fallback
        self.novelty_level = novelty_level
        self.device = device
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_language_parameters(self)
        check_frozen_encoder(self.encoder)

    def _reads(self) -> str:
        return reads(self)

    def _start_training(self, data: FitData) -> Training:
        """Load the backbone and tokenise prompts and responses."""
        backbone = DEFAULT_BACKBONE if self.backbone is None else self.backbone
        training = start_training(self, data, "causal", backbone, "pooled")
        return beside_frozen(self, data, training)
