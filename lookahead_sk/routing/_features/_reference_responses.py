"""Looking up the training responses that are nearest to the predicted ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lookahead_sk._typing import Float32Array, IntArray, ObjectArray
from lookahead_sk.routing._features._response_descriptors import ResponseDescriptors

MAX_REFERENCES = 20_000


@dataclass
class ReferenceResponses:
    """Training responses that `LookaheadRouter.foresee` looks up.

    Attributes
    ----------
    rows : ndarray of shape (R,)
        Rows of the training data.
    coordinates : ndarray of shape (R, K, c)
        Responses in the principal axes of the embeddings, NaN where not observed.
    texts : ndarray of str of shape (R, K), or None
        The responses; None when they were given as numbers.
    """

    rows: IntArray
    coordinates: Float32Array
    texts: ObjectArray | None

    def nearest(
        self, latents: Float32Array, descriptors: ResponseDescriptors, names: list[Any]
    ) -> list[dict[Any, dict[str, Any]]]:
        """The nearest reference of every model to each of the latents (n, K, r)."""
        columns = slice(0, self.coordinates.shape[2])
        predicted = (latents * descriptors.scale + descriptors.mean)[..., columns]
        lengths = descriptors.lengths(latents)
        found: list[dict[Any, dict[str, Any]]] = [{} for _ in latents]
        for k, name in enumerate(names):
            nearest, similarity = nearest_by_cosine(predicted[:, k], self.coordinates[:, k])
            is_known = not np.isnan(self.coordinates[:, k]).any(axis=1).all()
            for i, j in enumerate(nearest):
                found[i][name] = {
                    "response": self.texts[j, k] if is_known and self.texts is not None else None,
                    "row": int(self.rows[j]) if is_known else None,
                    "similarity": float(similarity[i]) if is_known else None,
                    "length": None if lengths is None else known_length(lengths[i, k]),
                }
        return found


def known_length(length: float) -> float | None:
    """A length that was predicted; None for NaN, where a model had none to learn from."""
    return None if np.isnan(length) else float(length)


def nearest_by_cosine(
    predicted: Float32Array, references: Float32Array
) -> tuple[IntArray, Float32Array]:
    """Row and cosine (n,) of the reference (R, c) that is nearest to each of (n, c)."""
    cosine = _unit(predicted) @ _unit(references).T
    nearest = np.nan_to_num(cosine, nan=-np.inf).argmax(axis=1)
    return nearest, np.take_along_axis(cosine, nearest[:, None], axis=1)[:, 0]


def _unit(rows: Float32Array) -> Float32Array:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def keep_references(
    texts: ObjectArray | None, values: Float32Array, descriptors: ResponseDescriptors, seed: int
) -> ReferenceResponses:
    """Keep the training responses, or a random 20,000 prompts' worth of them.

    Parameters
    ----------
    texts : ndarray of str of shape (n, K), or None
        The responses; None where only numbers were given.
    values : ndarray of shape (n, K, r)
        Their standardised descriptors.
    descriptors : ResponseDescriptors
        How the descriptors were standardised.
    seed : int
        For the choice, when there are more.

    Returns
    -------
    ReferenceResponses
        What `foresee` looks up.
    """
    n = len(values)
    rows = np.arange(n)
    if n > MAX_REFERENCES:
        chosen = np.random.RandomState(seed).choice(n, MAX_REFERENCES, replace=False)
        rows = np.sort(chosen)
    n_components = len(descriptors.components)
    raw = values[rows] * descriptors.scale + descriptors.mean
    kept = None if texts is None else texts[rows]
    return ReferenceResponses(rows, raw[..., :n_components].astype(np.float32), kept)
