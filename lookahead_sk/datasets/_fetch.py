"""Fetchers of the lookahead paper's published outputs: five language models on real prompts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sklearn.utils import Bunch

from lookahead_sk._validation import check_choice
from lookahead_sk.datasets import _published
from lookahead_sk.datasets._bunch import check_names
from lookahead_sk.datasets._local import first_existing, given_folder, read_packed
from lookahead_sk.datasets._published import READERS, Record
from lookahead_sk.datasets._source import HINT, download, finish

_FILES = "NAME.jsonl.gz files such as GSM8k.jsonl.gz"
_SCORES = """In [0, 1]: 1 or 0 for right or wrong (GSM8k, MATH, HumanEval, MBPP), preference of the
    weighted judge (AlpacaEval), two games against a reference (ArenaHard), or the mean rating of
    two turns over 10 (MT-Bench; a missing rating counts -1, as in the authors' evaluation)."""


def _records_in(folder: Path, benchmarks: Sequence[str] | None) -> tuple[list[Record], Path]:
    """Records of the benchmarks found in a local folder, packed or as in the repository."""
    wanted = tuple(READERS) if benchmarks is None else tuple(benchmarks)
    packed = first_existing(
        folder, (".", "lookahead_bench"), [f"{name}.jsonl.gz" for name in READERS]
    )
    raw = first_existing(folder, ("compressed_data/test", "data/test", "test", "."), tuple(READERS))
    place = packed or raw
    if place is None:
        raise FileNotFoundError(f"There is no benchmark in {folder}. {HINT.format(files=_FILES)}")
    ending = ".jsonl.gz" if packed else ""
    records = []
    for name in wanted:
        if (place / f"{name}{ending}").exists():
            path = place / f"{name}{ending}"
            records += read_packed(path) if packed else _published.read_benchmark(place, name)
        elif benchmarks is not None:
            raise FileNotFoundError(f"{place} has no {name}{ending}.")
    return records, place


def fetch_lookahead_bench(
    *,
    benchmarks: Sequence[str] | None = None,
    data_home: str | os.PathLike[str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    split: str | None = None,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
    as_frame: bool = False,
    return_X_y: bool = False,
) -> Bunch | tuple[Any, Any]:
    """Five language models on seven benchmarks: prompts, responses and scores.

    These are the published outputs of the lookahead routing paper [1]_. They are read from a local
    folder, if ``folder`` or the environment variable ``LOOKAHEAD_SK_DATA`` names one, or else
    downloaded once, at a pinned commit, from the authors' repository.

    Parameters
    ----------
    benchmarks : list of str, default=None
        Out of "GSM8k", "MATH", "HumanEval", "MBPP", "AlpacaEval", "ArenaHard", "MT-Bench". None
        takes all seven, or, in a local folder, those that are there.
    data_home : str or path, default=None
        Where downloads are kept; None is scikit-learn's data folder, `~/scikit_learn_data`.
    folder : str or path, default=None
        Local folder to read instead: it, or its subfolder ``lookahead_bench``, holds packed files
        ``NAME.jsonl.gz`` (one JSON object a line, with benchmark, prompt_id, prompt, responses,
        response_chars, scores, split), or it is a clone of the authors' repository.
    split : {"train", "test"} or None, default=None
        Keep only one part. The authors publish no split: packed files bring their own, and after
        a download a quarter of the prompts, chosen by a hash of their names, is "test".
    download_if_missing : bool, default=True
        If False, raise an OSError instead of using the network.
    n_retries : int, default=3
        Further attempts when a download breaks off; each goes on where the last one stopped.
    delay : float, default=1.0
        Seconds between attempts.
    as_frame : bool, default=False
        Return prompts as a Series, scores and responses as DataFrames whose columns are the models.
    return_X_y : bool, default=False
        Return only ``(prompts, scores)``.

    Returns
    -------
    data : Bunch
        With these attributes:

        prompts : ndarray of shape (n,) of str
            The prompts, as the models got them.
        scores : ndarray of shape (n, 5)
            In [0, 1]: 1 or 0 for right or wrong (GSM8k, MATH, HumanEval, MBPP), judged preference
            (AlpacaEval), two games (ArenaHard) or mean rating (MT-Bench); see ``DESCR``.
        responses : ndarray of shape (n, 5) of str
            What the models wrote; in packed files its first 1,000 characters.
        models : list of 5 str
            Names of the models.
        benchmark, prompt_id, split : ndarray of shape (n,) of str
            Where a prompt is from.
        response_chars : ndarray of shape (n, 5) of int
            Lengths of the full responses, in characters.
        costs : ndarray of shape (5,)
            Billions of parameters of each model.
        DESCR : str
            Description of the dataset, its source and its licence.
    (prompts, scores) : tuple if ``return_X_y`` is True
        The first two attributes.

    Raises
    ------
    OSError
        If the data is neither local nor can be downloaded.
    ValueError
        If a benchmark is not known or a local file is damaged.

    See Also
    --------
    make_routing : A routing problem that needs no data.
    fetch_selfoss_pool : Coding prompts answered by the same models.

    Notes
    -----
    No SHA-256 of these files is published. A download is checked against git's own object ids, as
    GitHub lists them for the pinned commit; its SHA-256 is then recorded in ``manifest.json`` and
    checked at every later read.

    References
    ----------
    .. [1] Huang et al., "Lookahead Routing for Large Language Models", NeurIPS 2025,
       arXiv 2510.19506.

    Examples
    --------
    >>> from lookahead_sk.datasets import fetch_lookahead_bench
    >>> data = fetch_lookahead_bench(benchmarks=["GSM8k"])  # doctest: +SKIP
    >>> data.scores.shape  # doctest: +SKIP
    (1319, 5)
    """
    chosen = None if benchmarks is None else check_names(benchmarks, "benchmarks", list(READERS))
    check_choice(split, "split", [None, "train", "test"])
    local = given_folder(folder)
    if local is not None:
        records, source = _records_in(local, chosen)
    else:
        names = chosen or tuple(READERS)
        paths = [path for name in names for path in _published.benchmark_files(name)]
        source = download(
            paths,
            data_home=data_home,
            download_if_missing=download_if_missing,
            n_retries=n_retries,
            delay=delay,
            files=_FILES,
        )
        source = source / "test"
        records = [row for name in names for row in _published.read_benchmark(source, name)]
    return finish(
        records,
        split=split,
        as_frame=as_frame,
        return_X_y=return_X_y,
        title="Five language models on seven benchmarks",
        source=source,
        scores=_SCORES,
        split_words="The authors publish none: a fixed quarter of the prompts is called test.",
    )
