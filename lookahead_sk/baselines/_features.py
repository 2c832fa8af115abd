"""Lexical features of prompts: what a sentence embedding blurs (digits, operators, rare words)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import randomized_svd

# In small collections nearly every pair of words is seen only once.
_SMALL = 200


class Lexical(NamedTuple):
    """Tf-idf of words, signs and pairs of them, reduced by a truncated SVD to unit rows."""

    vectorizer: TfidfVectorizer
    components: npt.NDArray[np.float64]  # (c, terms)

    def transform(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Features (n, c); a prompt without a known term has zeros."""
        reduced = self.vectorizer.transform(prompts) @ self.components.T
        return np.asarray(normalize(reduced), dtype=np.float32)


def fit_lexical(prompts: Sequence[str], n_components: int, random_state: Any) -> Lexical | None:
    """Fit lexical features, or return None if the prompts have no term to offer.

    Parameters
    ----------
    prompts : sequence of str
        n prompts.
    n_components : int
        Number of features; fewer if the prompts span fewer.
    random_state : RandomState
        Determines the randomised SVD.

    Returns
    -------
    Lexical or None
        O(non-zero counts x n_components).
    """
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2),
        sublinear_tf=True,
        token_pattern=r"(?u)\w+|[^\w\s]",
        min_df=2 if len(prompts) >= _SMALL else 1,
        max_features=50_000,
    )
    if not any(vectorizer.build_tokenizer()(prompt) for prompt in prompts):
        return None
    try:
        counts = vectorizer.fit_transform(prompts)
    except ValueError:  # no term is in two prompts
        return None
    rank = min(n_components, *counts.shape)
    _, _, components = randomized_svd(counts, rank, random_state=random_state)
    return Lexical(vectorizer, components)
