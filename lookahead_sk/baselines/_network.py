"""The query-only network: a multi-label perceptron from features to scores."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lookahead_sk._typing import FloatArray
from lookahead_sk._validation import Words, check_float, check_int, reject
from lookahead_sk.baselines._base import Fitted, QueryOnlyRouter
from lookahead_sk.baselines._mlp import Network, Schedule, train_network


class NetworkModel(NamedTuple):
    """Mean of several networks on standardised features, in the units of the scores."""

    networks: list[Network]
    mean: FloatArray  # (d,)
    scale: FloatArray  # (d,)
    low: float
    high: float

    def predict(self, Z: Any) -> FloatArray:
        standard = (np.asarray(Z, dtype=np.float64) - self.mean) / self.scale
        chance = np.mean([network.predict(standard) for network in self.networks], axis=0)
        return self.low + (self.high - self.low) * chance


class MLPRouter(QueryOnlyRouter):
    """Learn all models' scores by one small network, from the prompt alone.

    What a lookahead router is without the lookahead: one hidden layer, cross-entropy to the scores
    (brought to [0, 1]), early stopping on held-out prompts, a few networks averaged.

    Parameters
    ----------
    encoder : None, str, path, SentenceTransformer or "passthrough", default=None
        Sentence encoder, as for `lookahead_sk.LookaheadRouter`; "passthrough" for numeric X.
    hidden_size : int, default=64
        Units of the hidden layer.
    n_networks : int, default=3
        Networks to average, each with other first weights and other held-out prompts.
    dropout : float, default=0.2
        Share of hidden units dropped in training.
    learning_rate : float, default=0.001
        Step size of AdamW.
    weight_decay : float, default=0.01
        Weight decay of AdamW.
    max_epochs : int, default=100
        Most passes over the training prompts.
    batch_size : int, default=64
        Prompts a step.
    validation_fraction : float, default=0.1
        Share of the prompts held out for early stopping; 0 trains for ``max_epochs``.
    patience : int, default=8
        Epochs without a lower loss on the held-out prompts before training stops.
    lexical_features : int, default=256
        Number of lexical features beside the sentence embedding, as in `KNNRouter`.
    device : str or torch.device, default="auto"
        Where the encoder runs; the network itself is small and trained on the CPU.
    random_state : int, RandomState instance or None, default=None
        Determines the networks, the held-out prompts, and the SVD of the lexical features.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        The models.
    model_ : NetworkModel
        The networks' weights, as numpy arrays.
    temperature_ : float
        Scale of ``predict_proba``.

    Examples
    --------
    >>> from lookahead_sk.baselines import MLPRouter
    >>> X = [[float(i)] for i in range(40)]
    >>> y = [[1.0, 0.0] if i < 20 else [0.0, 1.0] for i in range(40)]
    >>> router = MLPRouter("passthrough", learning_rate=0.01, random_state=0).fit(X, y)
    >>> router.predict([[3.0], [36.0]])
    array([0, 1])
    """

    def __init__(
        self,
        encoder: Any = None,
        *,
        hidden_size: int = 64,
        n_networks: int = 3,
        dropout: float = 0.2,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        max_epochs: int = 100,
        batch_size: int = 64,
        validation_fraction: float = 0.1,
        patience: int = 8,
        lexical_features: int = 256,
        device: Any = "auto",
        random_state: Any = None,
    ):
        self.encoder = encoder
        self.hidden_size = hidden_size
        self.n_networks = n_networks
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.lexical_features = lexical_features
        self.device = device
        self.random_state = random_state

    def _schedule(self) -> Schedule:
        return Schedule(
            check_int(self.hidden_size, "hidden_size", low=1, closed="left"),
            check_float(self.dropout, "dropout", 0.0, 1.0, closed="left"),
            check_float(self.learning_rate, "learning_rate", low=0.0, closed="neither"),
            check_float(self.weight_decay, "weight_decay", low=0.0),
            check_int(self.max_epochs, "max_epochs", low=1, closed="left"),
            check_int(self.batch_size, "batch_size", low=1, closed="left"),
            check_int(self.patience, "patience", low=1, closed="left"),
        )

    def _fit_model(
        self, Z: Any, Y: FloatArray, rng: np.random.RandomState, weight: FloatArray | None
    ) -> Fitted:
        if weight is not None:
            reject("cell_weight", "None: an MLPRouter counts all scores alike", Words("weights"))
        schedule = self._schedule()
        n_networks = check_int(self.n_networks, "n_networks", low=1, closed="left")
        fraction = check_float(
            self.validation_fraction, "validation_fraction", 0.0, 1.0, closed="left"
        )
        Z = np.asarray(Z, dtype=np.float64)
        mean, scale = Z.mean(axis=0), Z.std(axis=0)
        scale = np.where(scale > 1e-9 * np.abs(mean), scale, 1.0)  # a constant feature stays 0
        low, high = float(np.nanmin(Y)), float(np.nanmax(Y))
        span = high - low or 1.0
        standard, targets, w = (Z - mean) / scale, (Y - low) / span, np.ones(len(Z))
        networks, rows, held_out = [], [], []
        for _ in range(n_networks):
            held = rng.permutation(len(Z))[: int(fraction * len(Z))]
            if np.isnan(np.delete(Y, held, axis=0)).all(axis=0).any():
                held = held[:0]  # without these, a model would not be observed at all
            seed = int(rng.randint(2**31))
            networks.append(train_network(standard, targets, w, held, schedule, seed))
            judged = held if len(held) else np.arange(len(Z))
            rows.append(judged)
            held_out.append(low + span * networks[-1].predict(standard[judged]))
        model = NetworkModel(networks, mean, scale, low, low + span)
        return Fitted(model, np.concatenate(rows), np.concatenate(held_out))
