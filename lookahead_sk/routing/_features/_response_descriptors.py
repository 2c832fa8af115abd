"""Descriptors of the true responses: what the latent of every model is trained to predict.

n prompts, K candidate models, r descriptors a response. They come in groups (what the response
says, how long it is, how it looks, how far the models agree); every group has the same total
variance, so that none drowns the others. Descriptors that were not observed are NaN.

=========  ==========================================================================
embedding  principal components of the response's embedding
length     log(1 + characters), or of the lengths that the user gives
form       log lines, share of digits, share of backslashes, whether there is a code block
agreement  cosine to the mean of the other models' responses; share of them with the
           same final answer (the last boxed expression, else the last number)
=========  ==========================================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA

from lookahead_sk._typing import Float32Array, FloatArray, ObjectArray

N_COMPONENTS = 16
N_FORM = 4
MAX_PAIRED = 12  # models: pairs of more are too many columns
_BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def final_answer(text: str) -> str | None:
    r"""Return the last boxed expression of a text, else its last number, else None.

    Examples
    --------
    >>> final_answer(r"so x = 3, and \boxed{\frac{1}{2}}")
    '\\frac{1}{2}'
    >>> final_answer("12 apples, 1,300 pears.")
    '1300'
    """
    boxed = _BOXED.findall(text)
    if boxed:
        return str(boxed[-1]).strip()
    numbers = _NUMBER.findall(text)
    return str(numbers[-1]).replace(",", "") if numbers else None


def _form(text: str) -> list[float]:
    size = max(len(text), 1)
    return [
        np.log1p(text.count("\n")),
        sum(map(text.count, "0123456789")) / size,
        text.count("\\") / size,
        float("```" in text),
    ]


def form_and_agreement(texts: ObjectArray) -> tuple[Float32Array, Float32Array]:
    """Descriptors that are read off the texts (n, K): form (n, K, 4) and agreement (n, K, 1)."""
    n, n_models = texts.shape
    form = np.full((n, n_models, N_FORM), np.nan, dtype=np.float32)
    agreement = np.full((n, n_models, 1), np.nan, dtype=np.float32)
    for i, row in enumerate(texts):
        seen = [k for k in range(n_models) if row[k] is not None]
        answers = {k: final_answer(row[k]) for k in seen}
        for k in seen:
            form[i, k] = _form(row[k])
            if len(seen) > 1:
                same = sum(answers[k] is not None and answers[j] == answers[k] for j in seen)
                agreement[i, k] = (same - (answers[k] is not None)) / (len(seen) - 1)
    return form, agreement


def similarity_to_others(embeddings: Float32Array) -> Float32Array:
    """Cosine of every response to the mean of the other models' responses, (n, K, 1)."""
    norm = np.linalg.norm(embeddings, axis=2, keepdims=True)
    unit = embeddings / np.maximum(norm, np.finfo(np.float32).tiny)
    is_observed = ~np.isnan(unit[..., :1])
    filled = np.nan_to_num(unit)
    others = filled.sum(axis=1, keepdims=True) - filled
    n_others = is_observed.sum(axis=1, keepdims=True) - is_observed
    size = np.maximum(np.linalg.norm(others, axis=2, keepdims=True), 1e-12)
    cosine = (filled * others).sum(axis=2, keepdims=True) / size
    return np.where(is_observed & (n_others > 0), cosine, np.nan).astype(np.float32)


def count_characters(texts: ObjectArray) -> FloatArray:
    """Lengths (n, K) of texts, NaN where there are none."""
    counts = [[np.nan if text is None else len(text) for text in row] for row in texts]
    return np.array(counts, dtype=np.float64)


def pairwise_agreement(embeddings: Float32Array, texts: ObjectArray | None) -> Float32Array:
    """Cosine, and whether the final answer is the same, of each two models that have answered.

    (n, K (K - 1)), NaN where one of them has not; (n, 0) for more than 12 models.
    """
    n, n_models = embeddings.shape[:2]
    if n_models > MAX_PAIRED:
        return np.empty((n, 0), dtype=np.float32)
    first, second = np.triu_indices(n_models, k=1)
    norm = np.linalg.norm(embeddings, axis=2, keepdims=True)
    unit = embeddings / np.maximum(norm, np.finfo(np.float32).tiny)
    cosine = np.einsum("npd,npd->np", unit[:, first], unit[:, second])
    same = np.full(cosine.shape, np.nan)
    if texts is not None:
        for i, row in enumerate(texts):
            answers = [None if text is None else final_answer(text) for text in row]
            for j, (a, b) in enumerate(zip(first, second, strict=True)):
                if row[a] is not None and row[b] is not None:
                    same[i, j] = answers[a] is not None and answers[a] == answers[b]
    return np.hstack([cosine, same]).astype(np.float32)


@dataclass
class ResponseDescriptors:
    """Turns responses into standardised descriptors, group by group.

    Attributes
    ----------
    mean, scale : ndarray of shape (K, r)
        ``descriptor = (raw - mean) / scale``, so that every group has total variance 1 / n_groups.
        The mean is NaN where a descriptor of a model was never observed.
    components : ndarray of shape (c, d)
        Principal axes of the responses' embeddings.
    center : ndarray of shape (d,)
        Mean embedding.
    length_column : int or None
        Which descriptor is the log length.
    """

    mean: Float32Array
    scale: Float32Array
    components: Float32Array
    center: Float32Array
    length_column: int | None

    @property
    def n_descriptors(self) -> int:
        """Number of descriptors of one response, r."""
        return int(self.mean.shape[1])

    @property
    def n_own(self) -> int:
        """Number of those that do not depend on what the other models answer."""
        n = len(self.components) + (self.length_column is not None)
        return n if n + 1 == self.n_descriptors else n + N_FORM

    def describe(
        self, embeddings: Float32Array, texts: ObjectArray | None, lengths: FloatArray | None
    ) -> Float32Array:
        """Descriptors (n, K, n_own) of responses, standardised; see `fit_descriptors`.

        Lengths are not measured on the texts here. What is not observed is NaN.
        """
        is_observed = ~np.isnan(embeddings).any(axis=2)
        n_components, n_own = len(self.components), self.n_own
        raw = np.full((*is_observed.shape, n_own), np.nan, dtype=np.float32)
        raw[..., :n_components] = self.project(embeddings)
        if self.length_column is not None and lengths is not None:
            raw[..., self.length_column] = np.log1p(np.where(is_observed, lengths, np.nan))
        if texts is not None and n_own - n_components >= N_FORM:
            raw[..., n_own - N_FORM :] = form_and_agreement(texts)[0]
        found: Float32Array = (raw - self.mean[:, :n_own]) / self.scale[:, :n_own]
        return found

    def lengths(self, latents: Float32Array) -> FloatArray | None:
        """Lengths (n, K) that predicted descriptors (n, K, r) tell, NaN where a model had none.

        None where no lengths are among the descriptors.
        """
        column = self.length_column
        if column is None:
            return None
        logs = latents[..., column] * self.scale[:, column] + self.mean[:, column]
        return np.maximum(np.expm1(logs.astype(np.float64)), 0)

    def project(self, embeddings: Float32Array) -> Float32Array:
        """Embeddings (n, d) of responses on the principal axes, (n, c)."""
        return ((embeddings - self.center) @ self.components.T).astype(np.float32)


def fit_descriptors(
    embeddings: Float32Array,
    texts: ObjectArray | None,
    lengths: npt.NDArray[Any] | None,
    seed: int,
) -> tuple[ResponseDescriptors, Float32Array]:
    """Learn the scale of the descriptors and return them for the training responses.

    Parameters
    ----------
    embeddings : ndarray of shape (n, K, d)
        Response embeddings, NaN where not observed.
    texts : ndarray of str of shape (n, K), or None
        The responses themselves, None cells where not observed.
    lengths : ndarray of shape (n, K), or None
        True lengths; measured on the texts when not given.
    seed : int
        For the randomised PCA.

    Returns
    -------
    descriptors : ResponseDescriptors
        What is needed to read predicted descriptors.
    values : ndarray of shape (n, K, r)
        Standardised descriptors, NaN where not observed.
    """
    width = embeddings.shape[2]
    rows = embeddings.reshape(-1, width)
    rows = rows[~np.isnan(rows).any(axis=1)]
    n_components = min(N_COMPONENTS, width, max(len(rows) - 1, 1))
    with np.errstate(divide="ignore", invalid="ignore"):  # shares of no variance, all alike
        pca = PCA(n_components, random_state=seed).fit(rows)
    center = pca.mean_.astype(np.float32)
    components = np.ascontiguousarray(pca.components_, dtype=np.float32)  # as after loading
    groups: list[Float32Array] = [(embeddings - center) @ components.T]
    length_column = None
    if lengths is None and texts is not None:
        lengths = count_characters(texts)
    if lengths is not None:
        length_column = n_components
        groups.append(np.log1p(lengths.astype(np.float64)).astype(np.float32)[..., None])
    agreements = [similarity_to_others(embeddings)]
    if texts is not None:
        form, agreement = form_and_agreement(texts)
        groups.append(form)
        agreements.append(agreement)
    groups.append(np.concatenate(agreements, axis=2))
    values, mean, scale = _standardise(groups)
    return ResponseDescriptors(mean, scale, components, center, length_column), values


def _standardise(groups: list[Float32Array]) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Centre every descriptor of every model; give every group the same total variance.

    Principal components keep their proportions, all other descriptors get unit variance first.
    """
    raw = np.concatenate(groups, axis=2)
    is_observed = ~np.isnan(raw)
    count = np.maximum(is_observed.sum(axis=0), 1)
    mean = np.where(is_observed, raw, 0).sum(axis=0) / count  # (K, r)
    variance = np.where(is_observed, (raw - mean) ** 2, 0).sum(axis=0) / count
    scale = np.empty_like(mean)
    start = 0
    for number, group in enumerate(groups):
        columns = slice(start, start + group.shape[2])
        start += group.shape[2]
        if number == 0:
            total = float(variance[:, columns].sum(axis=1).mean())
            scale[:, columns] = np.sqrt(max(total, 1e-12) * len(groups))
        else:
            width = group.shape[2] * len(groups)
            scale[:, columns] = np.sqrt(np.maximum(variance[:, columns], 1e-12) * width)
    constant = variance <= 1e-12
    values = np.where(constant & is_observed, 0, (raw - mean) / scale)
    mean = np.where(is_observed.any(axis=0), mean, np.nan)  # what was never observed is not 0
    return (
        values.astype(np.float32),
        mean.astype(np.float32),
        scale.astype(np.float32),
    )
