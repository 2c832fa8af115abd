"""The prediction file of RouterArena, a leaderboard of routers.

Source: Lu et al., "RouterArena: an open platform for comprehensive comparison of LLM routers",
arXiv 2510.00202. The file is a JSON list with an object a prompt:

================  =================================================================
global index      as in RouterArena's dataset
prompt            what was routed
prediction        name of the chosen model
generated_result  null, and so are "cost" and "accuracy": RouterArena fills them in
================  =================================================================
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lookahead_sk._files import write_atomically
from lookahead_sk._validation import Words, reject


def export_predictions(
    router: Any,
    dataset: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    path: str | os.PathLike[str],
    *,
    names: Mapping[Any, str] | None = None,
) -> int:
    """Route RouterArena's prompts and write its prediction file.

    Parameters
    ----------
    router : router
        Fitted, on texts; its ``predict`` chooses.
    dataset : path, or iterable of mapping
        RouterArena's dataset, for instance ``dataset/router_data_10.json``: objects with
        "global index" and "prompt_formatted", or "prompt". Those without either are left out, as
        RouterArena does it.
    path : path
        The file, for instance ``router_inference/predictions/my-router.json``; one that is there is
        replaced at once, when all is written.
    names : mapping of model to str, default=None
        RouterArena's names of the models, where those of the router are others.

    Returns
    -------
    int
        How many prompts were routed.

    Raises
    ------
    ValueError
        If no entry can be routed, or a model's name is not a text.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> from lookahead_sk.baselines import BestSingleRouter
    >>> from lookahead_sk.integrations.routerarena import export_predictions
    >>> router = BestSingleRouter().fit(["a", "b"], [[0, 1], [1, 1]])
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "best.json"
    >>> entries = [{"global index": "GSM8K_1", "prompt_formatted": "1 + 1?"}]
    >>> export_predictions(router, entries, path, names={0: "gpt-4o-mini", 1: "gpt-4o"})
    1
    >>> json.loads(path.read_text())[0]["prediction"]
    'gpt-4o'
    """
    entries: Any = dataset
    if isinstance(dataset, str | os.PathLike):
        entries = json.loads(Path(dataset).read_text(encoding="utf-8"))
    found = [_entry(each) for each in entries]
    kept = [(index, prompt) for index, prompt in found if index and prompt]
    if not kept:
        accepted = 'entries with "global index" and "prompt_formatted" or "prompt"'
        reject("dataset", accepted, Words(f"{len(found)} others"))
    chosen = router.predict([prompt for _, prompt in kept]).tolist()
    known = {name: name for name in chosen} if names is None else names
    odd = [name for name in chosen if not isinstance(known.get(name), str)]
    if odd:
        reject("names", "a text for every model that is chosen", odd[0])
    empty = {"generated_result": None, "cost": None, "accuracy": None}
    content = [
        {"global index": index, "prompt": prompt, "prediction": known[name], **empty}
        for (index, prompt), name in zip(kept, chosen, strict=True)
    ]
    text = json.dumps(content, ensure_ascii=False, indent=2)
    write_atomically(Path(path), lambda scratch: scratch.write_text(text, encoding="utf-8"))
    return len(content)


def _entry(entry: Any) -> tuple[Any, Any]:
    """Index and prompt of an entry of the dataset."""
    if not isinstance(entry, Mapping):
        reject("dataset", "a list of objects", entry, kind=TypeError)
    return entry.get("global index"), entry.get("prompt_formatted") or entry.get("prompt")
