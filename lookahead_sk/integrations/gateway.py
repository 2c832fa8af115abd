"""A router as one JSON file that a gateway in any language can serve.

The file holds, as plain numbers, all that a choice needs once a prompt is embedded:

==================  ==============================================================================
format, version     "lookahead_sk.clusters", 1
models              K names
costs, cost_weight  K prices of a call, and what a unit of cost is worth in score
encoder             what embeds a prompt: a name, or null for vectors that the caller makes
n_features          d, length of an embedding
clusterings         a list; each has "centres" (C x d), "means" (C x K) and "temperature"
==================  ==============================================================================

A choice, for an embedding z:

1. In each clustering take the squared distances of z to the centres. With temperature null the
   shares are 1 for the nearest centre and 0 for the others; else they are
   softmax(-distance / temperature).
2. The quality of model k is the sum of share x mean, averaged over the clusterings.
3. Choose the largest quality less cost_weight x cost; among equals the cheapest, then the first.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from lookahead_sk._files import write_atomically
from lookahead_sk._validation import check_float, reject
from lookahead_sk.baselines import ClusterRouter
from lookahead_sk.metrics._tables import read_prices


def export_clusters(
    router: ClusterRouter,
    path: str | os.PathLike[str],
    *,
    costs: Any = None,
    cost_weight: float = 0.0,
) -> None:
    """Write a fitted `ClusterRouter` as one JSON file.

    Parameters
    ----------
    router : ClusterRouter
        Fitted, with numeric X or with ``lexical_features=0``: a gateway can call an encoder, and
        knows nothing of lexical features.
    path : path
        The file; one that is there is replaced at once, when all is written.
    costs : array-like of shape (K,) or mapping of model to cost, default=None
        Price of a call of every model.
    cost_weight : float, default=0.0
        What a unit of cost is worth in score; not negative.

    Raises
    ------
    NotFittedError
        If the router is not fitted.
    TypeError
        If it is another router.
    ValueError
        If it reads lexical features, or prices do not fit the models.

    Notes
    -----
    The module's documentation describes the file. ``examples/gateway_reader.py`` reads it in plain
    Python.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> from lookahead_sk.baselines import ClusterRouter
    >>> from lookahead_sk.integrations.gateway import export_clusters
    >>> X = [[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]]
    >>> router = ClusterRouter("passthrough", n_clusters=2, random_state=0)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "router.json"
    >>> export_clusters(router.fit(X, [[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3), path)
    >>> json.loads(path.read_text())["models"]
    [0, 1]
    """
    if not isinstance(router, ClusterRouter):
        reject("router", "a ClusterRouter", router, kind=TypeError)
    check_is_fitted(router)
    if router.lexical_ is not None:
        reject("router", "fitted with lexical_features=0 or on numbers", router)
    models = router.classes_.tolist()
    ensemble: Any = router.model_
    content = {
        "format": "lookahead_sk.clusters",
        "version": 1,
        "models": models,
        "costs": read_prices(costs, models).tolist(),
        "cost_weight": check_float(cost_weight, "cost_weight", 0, np.finfo(float).max, "left"),
        "encoder": _encoder_name(router.encoder),
        "n_features": int(ensemble.models[0].centres.shape[1]),
        "clusterings": [
            {
                "centres": np.asarray(model.centres, dtype=np.float64).tolist(),
                "means": model.means.tolist(),
                "temperature": model.temperature,
            }
            for model in ensemble.models
        ],
    }
    text = json.dumps(content, allow_nan=False)
    write_atomically(Path(path), lambda scratch: scratch.write_text(text, encoding="utf-8"))


def _encoder_name(encoder: Any) -> str | None:
    """Name of what embeds prompts; None for an object, and for numbers."""
    if encoder is None:
        return "sentence-transformers/all-MiniLM-L6-v2"
    return encoder if isinstance(encoder, str) and encoder != "passthrough" else None
