"""Lexical features beside the sentence embedding: tf-idf of words and symbols, reduced by SVD.

A sentence encoder blurs digits, operators and rare words; these features keep them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from lookahead_sk._typing import Float32Array

_TOKEN = r"(?u)\b\w+\b|[^\w\s]"


@dataclass
class LexicalFeatures:
    """A fitted tf-idf vectoriser and the axes that reduce it.

    Attributes
    ----------
    vectorizer : TfidfVectorizer
        Words and symbols, alone and in pairs.
    axes : ndarray of shape (vocabulary, n_components)
        Right singular vectors of the training matrix.
    """

    vectorizer: TfidfVectorizer
    axes: Float32Array

    def transform(self, texts: Sequence[str]) -> Float32Array:
        """Features of unit norm, (n, n_components); zero for a text without a known word."""
        reduced = np.asarray(self.vectorizer.transform(texts) @ self.axes, dtype=np.float32)
        norm = np.linalg.norm(reduced, axis=1, keepdims=True)
        return reduced / np.maximum(norm, 1e-12)


def new_vectorizer() -> TfidfVectorizer:
    """Words and symbols, alone and in pairs, that stand in two texts at least."""
    return TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, min_df=2, token_pattern=_TOKEN, dtype=np.float32
    )


def fit_lexical(texts: Sequence[str], n_components: int, seed: int) -> LexicalFeatures | None:
    """Learn lexical features, or return None where the texts hold no word twice.

    Parameters
    ----------
    texts : sequence of str
        n training prompts.
    n_components : int
        Number of features; fewer when the texts do not carry them.
    seed : int
        For the randomised SVD.

    Returns
    -------
    LexicalFeatures or None
        None when ``n_components`` is 0 or the vocabulary is too small.
    """
    if n_components < 1:
        return None
    vectorizer = new_vectorizer()
    try:
        matrix = vectorizer.fit_transform(texts)
    except ValueError:  # no token stands in two texts
        return None
    rank = min(n_components, matrix.shape[0] - 1, matrix.shape[1] - 1)
    if rank < 1:
        return None
    svd = TruncatedSVD(rank, random_state=seed).fit(matrix)
    return LexicalFeatures(vectorizer, np.ascontiguousarray(svd.components_.T.astype(np.float32)))
