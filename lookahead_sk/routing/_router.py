"""LookaheadRouter: an estimator that foresees every model's response before one is called."""

from __future__ import annotations

import os
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from lookahead_sk.routing._approach import Approach, Given, flat
from lookahead_sk.routing._callbacks import CallbackSupportMixin, EpochTasks, with_callbacks
from lookahead_sk.routing._cost_aware import Foretold, fallback_column
from lookahead_sk.routing._costs import read_costs
from lookahead_sk.routing._inputs import align_columns, check_lengths
from lookahead_sk.routing._settings import check_parameters, resolve_settings
from lookahead_sk.routing._updates import UpdatableRouter


class LookaheadRouter(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, CallbackSupportMixin, UpdatableRouter
):
    """Route each prompt to the best of several models by foreseeing their responses.

    The router learns to predict, from the prompt alone, facts about the response that every
    candidate model would write (what it says, how long it is, how it looks, how far the models
    agree), and scores the models on these predicted latents. Responses are needed in ``fit`` only;
    to route a prompt costs one pass of a small sentence encoder.

    Parameters
    ----------
    approach : {"embedding", "masked", "causal"}, default="embedding"
        How responses are foreseen. ``"embedding"``: a frozen sentence encoder and a small network,
        in seconds on a CPU. ``"masked"`` and ``"causal"``: a language model is fine-tuned to fill
        in, or to begin, the response of every model; that wants a GPU or patience.
    encoder : None, str, path or SentenceTransformer, default=None
        The frozen sentence encoder. None is all-MiniLM-L6-v2: the packaged one when
        ``lookahead-sk[minilm]`` is installed, else the hub's. ``"passthrough"``: X is numeric, and
        responses are their (n, K, d) embeddings. Only ``"embedding"``.
    backbone : None, str, path or (model, tokenizer), default=None
        The language model that ``"masked"`` or ``"causal"`` fine-tunes: a hub name, a folder, or a
        loaded Hugging Face model with its fast tokenizer, which is copied. None is the paper's:
        ModernBERT-base, SmolLM2-135M.
    head : {"pooled", "cls"}, default="pooled"
        What ``"masked"`` scores. ``"pooled"``: every model's block of slots by one shared scorer.
        ``"cls"``: the prompt's [CLS] token, as in the paper.
    lexical_features : int, default=256
        Number of tf-idf features, reduced by SVD, beside the sentence embedding of text prompts;
        0 leaves them out. Only ``"embedding"``.
    response_weight : float or "auto", default="auto"
        Weight of the response loss against the routing loss. 0 turns lookahead off: the latents
        then carry only what the scores teach. "auto" is 1 for ``"embedding"`` and, as in the
        paper, 0.2 for ``"masked"`` and 0.5 for ``"causal"``.
    fact_weight : float, default=0.0
        Weight, within the response loss of ``"masked"`` and ``"causal"``, of the facts that
        ``"embedding"`` foresees (what the response says, its length, its form, agreement).
    response_tokens : int or "auto", default="auto"
        How many first tokens of every training response are embedded, or foreseen; "auto" is 96
        for ``"embedding"``, 16 for ``"masked"`` (slots of every model) and 64 for ``"causal"``.
    max_length : int or None, default=None
        Tokens of a prompt that are read; None is the encoder's own limit, or 2048 as far as the
        backbone has positions. Of a longer prompt ``"masked"`` and ``"causal"`` read both ends.
    max_epochs : int or "auto", default="auto"
        Most passes over the training prompts; "auto" is 12, 4 and 2 for the three approaches.
    batch_size : int or "auto", default="auto"
        Prompts in a training step, which is cut into as many passes as memory asks for. "auto" is
        32, and for ``"embedding"`` a twentieth of the prompts, at least 16 and at most 256.
    learning_rate : float or "auto", default="auto"
        Of AdamW, with a cosine schedule; "auto" is 2e-3 for ``"embedding"``, else 5e-5. What is
        new to a backbone (heads, the models' tokens) learns ten times as fast.
    validation_fraction : float, default=0.2
        Share of the training prompts that is held out; on these, training is stopped early and
        kinds of prompt, the blend and the temperature are fitted. ``"embedding"`` trains
        ``round(1 / validation_fraction)`` members, so that every prompt is held out by one.
    early_stopping : bool, default=True
        Keep the weights of the epoch that does best on held-out prompts, and stop when none has
        been better for 5 epochs. False trains ``max_epochs`` epochs and keeps the last.
    n_frozen_layers : int, default=0
        Lowest layers of the backbone that are not trained; with any, its embeddings are not either.
    lora_rank : int or None, default=None
        Train low-rank corrections (LoRA) of the backbone instead of the backbone; needs
        ``lookahead-sk[lora]``.
    checkpoint_folder : path or None, default=None
        Where training of a backbone is kept as it goes on: a fit with the same data and parameters
        that was killed continues from there. Fits of any number may share the folder.
    compile : bool, default=False
        Train the backbone under ``torch.compile``.
    costs : array-like of shape (K,), mapping of model to cost, or None, default=None
        Price of each model, see ``cost_unit``.
    cost_weight : float, default=0.0
        Utility is quality minus ``cost_weight`` times cost, in units of ``y`` per unit of cost;
        `tune_cost` sets it.
    cost_unit : {"call", "length"}, default="call"
        What a price is for: one call, or one unit of the response's length, which is foreseen (in
        characters, or in the unit of ``response_lengths``).
    fallback : label or None, default=None
        Model that `predict` takes for prompts unlike the training prompts, see `is_novel`.
    novelty_level : float, default=0.01
        Share of prompts like those of the training that are flagged as novel all the same.
    device : {"auto", "cpu", "cuda", "cuda:N", "mps"} or torch.device, default="auto"
        Where networks run; ``"auto"`` is CUDA when there is a GPU.
    dtype : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of a backbone; "auto" is bfloat16 (by autocast) on a GPU that has it, else
        float32. The small network of ``"embedding"`` is always float32.
    random_state : int, RandomState instance or None, default=None
        Makes ``fit`` reproducible on one machine.
    verbose : int, default=0
        1 shows the progress of training, 2 that of the encoding as well.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        Names of the models: the columns of ``y``, or 0 to K - 1, or the labels.
    n_features_in_ : int
        Columns of X; only with ``encoder="passthrough"``.
    approach_ : str
        The approach that was fitted.
    n_prompts_ : int
        Training prompts, those held out included.
    mean_scores_ : ndarray of shape (K,)
        Mean training score of every model.
    n_members_ : int
        Members of the ensemble.
    n_iter_ : int
        Epochs trained.
    validation_scores_ : list of float
        Held-out loss after each epoch: mean of the members, or the routing loss of a backbone.
    blend_ : float
        Share of the network's own score in the quality; the rest is the mean over kinds of prompt.
        The network has one only where that routes held-out prompts significantly better.
    later_ : object
        What `partial_fit`, `add_model` and `drop_model` have changed since `fit`.
    novelty_ : object
        Training prompts that `is_novel` compares with.
    temperature_ : float
        Of `predict_proba`, in the units of ``y``.
    validation_score_ : float
        Mean score of the held-out training prompts, as routed; for ``cost_weight=0``.

    See Also
    --------
    lookahead_sk.baselines : Query-only routers with the same interface.
    lookahead_sk.metrics.oracle_gain_score : Share of the oracle's gain that a router reaches.

    Notes
    -----
    Without ``responses`` there is no response loss, and the router is a query-only router. Time and
    memory of ``fit`` are linear in the number of prompts once the texts are embedded.

    References
    ----------
    .. [1] Huang, Shi, Zhu, Chen, Quan, "Lookahead Routing for Large Language Models", NeurIPS 2025,
       arXiv 2510.19506.

    Examples
    --------
    >>> from lookahead_sk import LookaheadRouter
    >>> from lookahead_sk.datasets import make_routing
    >>> from sklearn.decomposition import TruncatedSVD
    >>> from sklearn.feature_extraction.text import TfidfVectorizer
    >>> from sklearn.pipeline import make_pipeline
    >>> data = make_routing(300, random_state=0)
    >>> router = make_pipeline(
    ...     TfidfVectorizer(),
    ...     TruncatedSVD(32, random_state=0),
    ...     LookaheadRouter(encoder="passthrough", random_state=0),
    ... )
    >>> router.fit(data.prompts[:200], data.scores[:200]).predict_proba(data.prompts[200:]).shape
    (100, 6)
    """

    def __init__(
        self,
        approach: str = "embedding",
        *,
        encoder: Any = None,
        backbone: Any = None,
        head: str = "pooled",
        lexical_features: int = 256,
        response_weight: float | str = "auto",
        fact_weight: float = 0.0,
        response_tokens: int | str = "auto",
        max_length: int | None = None,
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        learning_rate: float | str = "auto",
        validation_fraction: float = 0.2,
        early_stopping: bool = True,
        n_frozen_layers: int = 0,
        lora_rank: int | None = None,
        checkpoint_folder: Any = None,
        compile: bool = False,
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
        self.approach = approach
        self.encoder = encoder
        self.backbone = backbone
        self.head = head
        self.lexical_features = lexical_features
        self.response_weight = response_weight
        self.fact_weight = fact_weight
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
        self.compile = compile
        self.costs = costs
        self.cost_weight = cost_weight
        self.cost_unit = cost_unit
        self.fallback = fallback
        self.novelty_level = novelty_level
        self.device = device
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @with_callbacks
    def fit(self, X: Any, y: Any, responses: Any = None, response_lengths: Any = None) -> Self:
        """Learn to foresee responses and to score models on them.

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
            the beginning of a response; measured in characters on ``responses`` when not given.

        Returns
        -------
        LookaheadRouter
            The fitted router itself.

        Raises
        ------
        TypeError
            If X is a single string or holds something that is not a string.
        ValueError
            If a shape does not fit, a score is infinite, or a prompt or a model was never observed.
        OSError
            If the encoder cannot be loaded.
        """
        check_parameters(self)
        given = self._check_given(X, y, responses, response_lengths)
        settings = resolve_settings(self, len(given.prompts))
        approach = self._approach(self.approach)
        observed = approach.observe(given, settings)
        tasks = EpochTasks(self, X, y, settings.max_epochs)
        attributes = approach.fit(observed, tasks.run_epoch)
        for name, value in attributes.items():
            setattr(self, name, value)
        self._remember_X(X)
        tasks.close(lambda: attributes)
        return self

    def _check_given(self, X: Any, y: Any, responses: Any, response_lengths: Any) -> Given:
        """Check all that fit is given; changes nothing."""
        prompts = self._check_X(X, reset=True)
        n = len(prompts)
        if n < 2:
            raise ValueError("X must hold at least 2 prompts; got n_samples=1, 1 sample.")
        table = self._check_y(y, n)
        shape = (n, len(table.classes))
        responses = self._check_responses(align_columns(responses, y, "responses"), shape)
        lengths = check_lengths(align_columns(response_lengths, y, "response_lengths"), shape)
        read_costs(self.costs, table.classes)
        if self.fallback is not None:
            fallback_column(self.fallback, table.classes)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        return Given(prompts, table, responses, lengths, seed)

    def _approach(self, name: str) -> Approach:
        # What an approach needs is imported when it is used: transformers takes seconds.
        if name == "embedding":
            from lookahead_sk.routing._embedding_approach import EmbeddingApproach

            return EmbeddingApproach(self)
        from lookahead_sk.routing._language_approach import LanguageApproach

        return LanguageApproach(self)

    def _foretell(self, X: list[str] | npt.NDArray[np.float32]) -> Foretold:
        view = self._approach(self.approach_).view(X)
        quality = self.later_.quality(view, self.kinds_, self.blend_)
        return Foretold(quality, self.later_.lengths(view), view.features)

    def transform(self, X: Any) -> npt.NDArray[np.float32]:
        """Foresee the response of every model.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.

        Returns
        -------
        ndarray of shape (n, K * latent)
            The predicted latents, model by model: standardised facts that the responses are
            expected to show, or hidden states of the backbone. K are the models of `fit`, whatever
            was added or dropped later.
        """
        check_is_fitted(self)
        return flat(self._approach(self.approach_).view(self._check_X(X, reset=False)).latents)

    def foresee(self, X: Any) -> list[dict[Any, dict[str, Any]]]:
        """Tell what each model is expected to answer.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.

        Returns
        -------
        list of dict
            For every prompt, model name -> ``{"response", "row", "similarity", "length"}``: with
            ``"embedding"`` the training response of that model that is nearest to the foreseen one
            (None when responses were given as numbers), its row in the training data (of
            `add_model`, for a model that was added), and the cosine between the two; with
            ``"masked"`` and ``"causal"`` the first tokens that the backbone itself expects, and
            None for row and similarity. The expected length is in the unit of
            ``response_lengths``, and None when unknown.

        Raises
        ------
        ValueError
            If the router was fitted without responses or with ``response_weight=0``.
        """
        check_is_fitted(self)
        approach, prompts = self._approach(self.approach_), self._check_X(X, reset=False)
        view = approach.view(prompts)
        later, names = self.later_, self.classes_.tolist()
        n_fitted = view.network.shape[1]
        fitted = approach.expectations(prompts, view)
        added = [model.expectations(view) for model in later.added]
        return [
            {
                name: fitted[i][k] if k < n_fitted else added[k - n_fitted][i]
                for name, k in zip(names, later.kept.tolist(), strict=True)
            }
            for i in range(len(fitted))
        ]

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
        from lookahead_sk.routing._persistence import save_router

        check_is_fitted(self)
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
        LookaheadRouter
            Fitted.

        Raises
        ------
        ValueError
            If a file is missing or damaged; the message names it.
        """
        from lookahead_sk.routing._persistence import load_router

        return load_router(cls, folder, changes)
