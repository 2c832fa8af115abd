"""Where the published outputs are downloaded from, and the Bunch made of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from sklearn.datasets import get_data_home
from sklearn.utils import Bunch

from lookahead_sk._validation import check_float, check_int
from lookahead_sk.datasets._bunch import object_array, routing_bunch
from lookahead_sk.datasets._download import PinnedRepository
from lookahead_sk.datasets._local import VARIABLE
from lookahead_sk.datasets._published import MODELS, Record

# The commit that put the data into the authors' repository.
_COMMIT = "3fc9dc665dde27ad0a29f2b6a08c1642e767c5f3"
_REPOSITORY = "huangcb01/lookahead-routing"
_LISTING_URL = f"https://api.github.com/repos/{_REPOSITORY}/git/trees/{_COMMIT}?recursive=1"
_RAW_URL = f"https://raw.githubusercontent.com/{_REPOSITORY}/{_COMMIT}"
# Billions of parameters: what a call costs per token, up to the same factor for all.
_COSTS = (34.4, 19.9, 14.0, 8.0, 7.6)
HINT = (
    f"Without a network, pass folder=, or set {VARIABLE}, to a folder with {{files}}, "
    f"or to a clone of https://github.com/{_REPOSITORY}."
)

_DESCR = """\
{title}
{rule}

{n_prompts} prompts, answered by five language models.
{counts}.
{models}.
Published by Huang, Shi, Zhu, Chen and Quan, "Lookahead Routing for Large Language Models", NeurIPS
2025 (arXiv 2510.19506), in github.com/{repository} (MIT licence); the prompts
remain under the licences of their benchmarks. Read from {source}.

scores
    {scores}
costs
    Billions of parameters of each model, in proportion to the work per token.
response_chars
    Length of the full response; packed files hold no more than its beginning.
split
    {split}
"""


def download(
    paths: Sequence[str],
    *,
    data_home: str | os.PathLike[str] | None,
    download_if_missing: bool,
    n_retries: int,
    delay: float,
    files: str,
) -> Path:
    """The cache's folder ``compressed_data``, once it holds all the paths of the repository.

    ``files`` says, for the error's hint, what a local folder would have to hold.
    """
    n_retries = check_int(n_retries, "n_retries", low=0, closed="left")
    delay = check_float(delay, "delay", low=0.0)
    cache = Path(get_data_home(data_home)) / "lookahead_bench" / _COMMIT[:12]
    repository = PinnedRepository(_LISTING_URL, _RAW_URL, cache, n_retries, delay)
    hint = HINT.format(files=files)
    if not download_if_missing and repository.missing(paths):
        raise OSError(f"The data is not in {cache} and download_if_missing is False. {hint}")
    try:
        repository.ensure(paths)
    except OSError as error:
        raise OSError(f"{error} {hint}") from error
    return cache / "compressed_data"


def finish(
    records: list[Record],
    *,
    split: str | None,
    as_frame: bool,
    return_X_y: bool,
    title: str,
    source: Path,
    scores: str,
    split_words: str,
) -> Bunch | tuple[Any, Any]:
    """The Bunch of the records of a split, with its description."""
    kept = [record for record in records if split is None or record.split == split]
    if not kept:
        raise ValueError(f"{source} has no prompt of split {split!r}.")
    names, counts = np.unique([record.benchmark for record in kept], return_counts=True)
    descr = _DESCR.format(
        title=title,
        rule="-" * len(title),
        n_prompts=len(kept),
        counts=fill(
            ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True)), 96
        ),
        models=fill(", ".join(MODELS), 96),
        repository=_REPOSITORY,
        source=source,
        scores=scores,
        split=split_words,
    )
    return routing_bunch(
        prompts=[record.prompt for record in kept],
        scores=[record.scores for record in kept],
        responses=[record.responses for record in kept],
        models=MODELS,
        as_frame=as_frame,
        return_X_y=return_X_y,
        benchmark=object_array([record.benchmark for record in kept]),
        costs=np.array(_COSTS),
        prompt_id=object_array([record.prompt_id for record in kept]),
        response_chars=np.array([record.response_chars for record in kept], dtype=np.int64),
        split=object_array([record.split for record in kept]),
        DESCR=descr,
    )
