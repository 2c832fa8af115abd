"""Linear routers: ridge regression, and its low-rank form, a matrix factorisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from lookahead_sk._typing import FloatArray, IntArray
from lookahead_sk._validation import check_float, check_int
from lookahead_sk.baselines._base import Fitted, QueryOnlyRouter
from lookahead_sk.baselines._linear import LinearModel, penalty_scale, reduce_rank, ridge_path
from lookahead_sk.baselines._tuning import cross_validated, first_least
from lookahead_sk.routing._local_average._cells import rows_of

_ALPHAS = np.logspace(4, -2, 13)  # the strongest penalty, the simplest model, first
_MAX_RANK = 8


class RidgeRouter(QueryOnlyRouter):
    """Regress every model's score on the features, with one penalty for all models.

    Parameters
    ----------
    encoder : None, str, path, SentenceTransformer or "passthrough", default=None
        Sentence encoder, as for `lookahead_sk.LookaheadRouter`; "passthrough" for numeric X.
    alpha : float or None, default=None
        Penalty, in multiples of the mean sum of squares of a centred feature; None chooses from
        0.01 to 10,000 by cross-validated error of the differences between the models' scores.
    lexical_features : int, default=256
        Number of lexical features beside the sentence embedding, as in `KNNRouter`.
    device : str or torch.device, default="auto"
        Where the encoder runs.
    random_state : int, RandomState instance or None, default=None
        Determines the folds and the SVD of the lexical features.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        The models.
    alpha_ : float
        The penalty used.
    model_ : LinearModel
        Coefficients (d, K) and intercepts (K,).
    temperature_ : float
        Scale of ``predict_proba``.

    See Also
    --------
    MatrixFactorizationRouter : The same with fewer degrees of freedom.

    Examples
    --------
    >>> from lookahead_sk.baselines import RidgeRouter
    >>> X = [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]]
    >>> y = [[0.2 * x[0], 0.5] for x in X]
    >>> RidgeRouter("passthrough", random_state=0).fit(X, y).predict([[1.0], [4.0]])
    array([1, 0])
    """

    alpha_: float

    def __init__(
        self,
        encoder: Any = None,
        *,
        alpha: float | None = None,
        lexical_features: int = 256,
        device: Any = "auto",
        random_state: Any = None,
    ):
        self.encoder = encoder
        self.alpha = alpha
        self.lexical_features = lexical_features
        self.device = device
        self.random_state = random_state

    def _fit_model(
        self, Z: Any, Y: FloatArray, rng: np.random.RandomState, weight: FloatArray | None
    ) -> Fitted:
        fitted, self.alpha_, _ = _fit_linear(Z, Y, rng, weight, self.alpha, [None])
        return fitted


class MatrixFactorizationRouter(QueryOnlyRouter):
    """Factorise scores into a few traits of the prompts, read off their features, and of models.

    The expected score is how hard the prompt is, plus the product of ``rank`` linear functions of
    its features with as many numbers for each model; both are fitted together by reduced-rank
    ridge regression.

    Parameters
    ----------
    encoder : None, str, path, SentenceTransformer or "passthrough", default=None
        Sentence encoder, as for `lookahead_sk.LookaheadRouter`; "passthrough" for numeric X.
    rank : int or None, default=None
        Number of traits; None chooses from 1 to K - 1, at most 8, together with ``alpha``, by
        cross-validated error of the differences between the models' scores.
    alpha : float or None, default=None
        Penalty, as in `RidgeRouter`; None chooses it.
    lexical_features : int, default=256
        Number of lexical features beside the sentence embedding, as in `KNNRouter`.
    device : str or torch.device, default="auto"
        Where the encoder runs.
    random_state : int, RandomState instance or None, default=None
        Determines the folds and the SVD of the lexical features.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        The models.
    rank_ : int
        The number of traits used.
    alpha_ : float
        The penalty used.
    model_ : LinearModel
        Coefficients (d, K), whose deviations from their mean over models have that rank.
    temperature_ : float
        Scale of ``predict_proba``.

    Notes
    -----
    The factors are the least-squares optimum if every model was observed on every prompt; with
    gaps, each model is first fitted where it was observed.

    References
    ----------
    .. [1] Ong et al., "RouteLLM: learning to route LLMs with preference data", ICLR 2025,
       routes between two models by a factorisation of this kind, fitted to preferences.

    Examples
    --------
    >>> from lookahead_sk.baselines import MatrixFactorizationRouter
    >>> X = [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]]
    >>> y = [[0.2 * x[0], 0.5, 0.3] for x in X]
    >>> router = MatrixFactorizationRouter("passthrough", rank=1, random_state=0).fit(X, y)
    >>> router.predict([[1.0], [4.0]])
    array([1, 0])
    """

    rank_: int
    alpha_: float

    def __init__(
        self,
        encoder: Any = None,
        *,
        rank: int | None = None,
        alpha: float | None = None,
        lexical_features: int = 256,
        device: Any = "auto",
        random_state: Any = None,
    ):
        self.encoder = encoder
        self.rank = rank
        self.alpha = alpha
        self.lexical_features = lexical_features
        self.device = device
        self.random_state = random_state

    def _fit_model(
        self, Z: Any, Y: FloatArray, rng: np.random.RandomState, weight: FloatArray | None
    ) -> Fitted:
        ranks: list[int | None] = list(range(1, min(Y.shape[1], _MAX_RANK + 1)))
        if self.rank is not None:
            ranks = [check_int(self.rank, "rank", low=1, closed="left")]
        fitted, self.alpha_, rank = _fit_linear(Z, Y, rng, weight, self.alpha, ranks)
        self.rank_ = min(rank or 1, Y.shape[1] - 1)
        return fitted


def _models(
    Z: FloatArray,
    Y: FloatArray,
    weight: FloatArray | None,
    alphas: FloatArray,
    ranks: list[int | None],
) -> list[LinearModel]:
    """Linear models of every rank (None: unrestricted) and penalty, ranks outermost."""
    w = np.ones(len(Z))
    penalties = alphas * penalty_scale(Z, w)
    path = ridge_path(Z, Y, w, penalties, weight)
    return [
        model if rank is None else reduce_rank(model, Z, w, penalty, rank)
        for rank in ranks
        for model, penalty in zip(path, penalties, strict=True)
    ]


def _fit_linear(
    Z: Any,
    Y: FloatArray,
    rng: np.random.RandomState,
    weight: FloatArray | None,
    alpha: float | None,
    ranks: list[int | None],
) -> tuple[Fitted, float, int | None]:
    """Choose penalty and rank by cross-validation and fit: the model, the penalty, the rank."""
    Z = np.asarray(Z, dtype=np.float64)
    alphas = _ALPHAS
    if alpha is not None:
        alphas = np.array([check_float(alpha, "alpha", low=0.0, closed="neither")])

    def predict(train: IntArray, test: IntArray) -> FloatArray:
        models = _models(Z[train], Y[train], rows_of(weight, train), alphas, ranks)
        return np.array([model.predict(Z[test]) for model in models])

    judged = cross_validated(predict, Y, np.ones(len(Y)), 5, rng)
    best = first_least(judged.errors(Y, np.ones(len(Y)), weight))
    rank, penalty = ranks[best // len(alphas)], alphas[best % len(alphas)]
    (model,) = _models(Z, Y, weight, np.array([penalty]), [rank])
    return Fitted(model, judged.rows, judged.quality[best]), float(penalty), rank
