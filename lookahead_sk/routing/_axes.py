"""The space of foreseen responses on its principal axes, where it has many dimensions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA

Floats32 = npt.NDArray[np.float32]

MAX_AXES = 128


def fit_axes(foreseen: Floats32, seed: int) -> Floats32 | None:
    """Principal axes (f, 128) of a space of more dimensions; None where there are fewer."""
    if foreseen.shape[1] <= MAX_AXES:
        return None
    pca = PCA(min(MAX_AXES, *foreseen.shape), random_state=seed).fit(foreseen)
    return pca.components_.T.astype(np.float32)


def project(foreseen: Floats32, axes: Floats32 | None) -> Floats32:
    """Foreseen responses (n, a) on the axes; as they are where there are none."""
    return foreseen if axes is None else foreseen @ axes


def some_rows(n: int, most: int) -> npt.NDArray[np.intp]:
    """All of n rows, or a random choice of as many as allowed, in order; always the same one."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.RandomState(0).choice(n, most, replace=False))
