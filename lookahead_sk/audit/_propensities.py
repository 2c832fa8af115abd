"""With which probability did the log's own rule call each model? Estimated from its calls."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lookahead_sk._typing import FloatArray
from lookahead_sk._validation import Words, check_int, reject

_STRENGTHS = (1e-5, 1e-3, 0.1, 10.0)  # C of logistic regression; the first ignores X


def estimate_propensities(
    X: Any, called: Any, *, classifier: Any = None, cv: int = 5
) -> FloatArray:
    """Estimate the probabilities of the calls of a log that did not write them down.

    Parameters
    ----------
    X : sequence of str, or array-like of shape (n, p)
        What the log's rule could see: the prompts, or numbers such as their embeddings.
    called : array-like of shape (n, K)
        Which model was called; one in each row.
    classifier : estimator with ``predict_proba``, default=None
        Learns the called model from X; None is logistic regression, on TF-IDF features of texts,
        with the strength of regularisation that predicts held-out calls best.
    cv : int, default=5
        Folds: a row's propensities come from the other folds.

    Returns
    -------
    ndarray of shape (n, K)
        Propensities; 0 for a model that is called fewer than ``cv`` times.

    Raises
    ------
    ValueError
        If a row has no call or several, or fewer than two models are called ``cv`` times.

    Notes
    -----
    They are right only if everything that the rule looked at is in X. Where a rule sends all
    prompts of a kind to one model, they come close to 0 and 1, and an audit refuses what lies
    beyond.

    Examples
    --------
    >>> import numpy as np
    >>> from lookahead_sk.audit import estimate_propensities
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 1))
    >>> goes_first = rng.random(400) < 0.25
    >>> propensities = estimate_propensities(X, np.column_stack([goes_first, ~goes_first]))
    >>> bool(abs(propensities[:, 0].mean() - 0.25) < 0.05)
    True
    """
    table = np.asarray(called, dtype=bool)
    cv = check_int(cv, "cv", low=2)
    if table.ndim != 2 or not (table.sum(axis=1) == 1).all():
        reject("called", "a table with one call in each row", Words(f"shape {table.shape}"))
    labels = table.argmax(axis=1)
    is_known = table.sum(axis=0) >= cv
    if is_known.sum() < 2:
        reject("called", f"a log in which two models are called {cv} times", table.sum(axis=0))
    rows = np.flatnonzero(is_known[labels])
    folds = list(StratifiedKFold(cv, shuffle=True, random_state=0).split(rows, labels[rows]))
    texts = np.asarray(X, dtype=object) if isinstance(_first(X), str) else np.asarray(X)
    candidates = _default_classifiers(X) if classifier is None else [classifier]
    tables = [
        cross_val_predict(each, texts[rows], labels[rows], cv=folds, method="predict_proba")
        for each in candidates
    ]
    propensities = np.zeros(table.shape)
    best = min(tables, key=lambda found: log_loss(labels[rows], found))
    propensities[np.ix_(rows, np.flatnonzero(is_known))] = best
    return propensities


def _first(X: Any) -> Any:
    return next(iter(X), None)


def _default_classifiers(X: Any) -> list[Any]:
    regressions = [LogisticRegression(C=C, max_iter=1000) for C in _STRENGTHS]
    if isinstance(_first(X), str):
        # Words of one prompt alone would only make the others look surer than they are.
        words = TfidfVectorizer(sublinear_tf=True, max_features=20_000, min_df=2)
        return [make_pipeline(words, regression) for regression in regressions]
    return [make_pipeline(StandardScaler(), regression) for regression in regressions]
