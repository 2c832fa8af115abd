"""One form for every routing dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import Bunch

from lookahead_sk._validation import reject


def check_names(
    value: Sequence[str] | str | None, name: str, known: Sequence[str]
) -> tuple[str, ...]:
    """A selection of known names, in the order given; None means all of them."""
    if value is None:
        return tuple(known)
    accepted = f"None or a list of distinct names out of {', '.join(map(repr, known))}"
    if isinstance(value, str):
        reject(name, accepted, value, hint=f"Write {name}=[{value!r}] for a single one.")
    try:
        names = tuple(value)
    except TypeError:
        reject(name, accepted, value, kind=TypeError)
    for item in names:
        if item not in known:
            reject(name, accepted, item)
    if not names or len(set(names)) < len(names):
        reject(name, accepted, names)
    return names


def object_array(values: Sequence[Any]) -> npt.NDArray[np.object_]:
    """A list of strings, or of equally long rows of strings, as an object array."""
    return np.array(values, dtype=object)


def routing_bunch(
    *,
    prompts: Sequence[str],
    scores: Sequence[Sequence[float]] | npt.NDArray[np.float64],
    responses: Sequence[Sequence[str | None]],
    models: Sequence[str],
    as_frame: bool,
    return_X_y: bool,
    **extra: Any,
) -> Bunch | tuple[Any, Any]:
    """Assemble the Bunch all loaders return, or only its prompts and scores."""
    y: Any = np.asarray(scores, dtype=np.float64).reshape(len(prompts), len(models))
    X: Any = object_array(prompts)
    texts: Any = object_array(responses).reshape(len(prompts), len(models))
    if as_frame:
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("as_frame=True needs pandas: pip install pandas") from error
        X = pd.Series(X, name="prompt")
        y = pd.DataFrame(y, columns=list(models))
        texts = pd.DataFrame(texts, columns=list(models))
    if return_X_y:
        return X, y
    return Bunch(prompts=X, scores=y, responses=texts, models=list(models), **extra)
