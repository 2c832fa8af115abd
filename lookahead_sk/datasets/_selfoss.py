"""Fetcher of the SelfOSS pool: coding prompts that the same five models answered."""

from __future__ import annotations

import os
from typing import Any

from sklearn.utils import Bunch

from lookahead_sk._validation import check_choice
from lookahead_sk.datasets import _published
from lookahead_sk.datasets._local import first_existing, given_folder, read_pool
from lookahead_sk.datasets._source import HINT, download, finish

_FILE = "selfoss_pool.jsonl.gz"


def fetch_selfoss_pool(
    *,
    data_home: str | os.PathLike[str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    split: str | None = None,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
    as_frame: bool = False,
    return_X_y: bool = False,
) -> Bunch | tuple[Any, Any]:
    """Coding prompts answered by the five models of the seven benchmarks.

    A part of the lookahead routing paper's training data [1]_: 4,335 Python tasks, each response
    scored by the share of unit tests it passes. They are in the domain of HumanEval and MBPP and
    may be added to a training set for these; they are not a benchmark.

    Parameters
    ----------
    data_home : str or path, default=None
        Where downloads are kept; None is scikit-learn's data folder, `~/scikit_learn_data`.
    folder : str or path, default=None
        Local folder to read instead: it, or its subfolder ``selfoss``, holds
        ``selfoss_pool.jsonl.gz``, or it is a clone of the authors' repository. None looks at the
        environment variable ``LOOKAHEAD_SK_DATA``, then downloads.
    split : {"train", "eval"} or None, default=None
        Keep only the authors' training or validation part.
    download_if_missing : bool, default=True
        If False, raise an OSError instead of using the network.
    n_retries : int, default=3
        Further attempts when a download breaks off.
    delay : float, default=1.0
        Seconds between attempts.
    as_frame : bool, default=False
        Return prompts as a Series, scores and responses as DataFrames whose columns are the models.
    return_X_y : bool, default=False
        Return only ``(prompts, scores)``.

    Returns
    -------
    data : Bunch
        The fields of `fetch_lookahead_bench`; ``benchmark`` is "SelfOSSInstruct" throughout, and
        packed files hold the first 512 characters of a response.
    (prompts, scores) : tuple if ``return_X_y`` is True
        The first two attributes.

    Raises
    ------
    OSError
        If the data is neither local nor can be downloaded.
    ValueError
        If a local file is damaged.

    See Also
    --------
    fetch_lookahead_bench : The benchmarks.

    References
    ----------
    .. [1] Huang et al., "Lookahead Routing for Large Language Models", NeurIPS 2025,
       arXiv 2510.19506.

    Examples
    --------
    >>> from lookahead_sk.datasets import fetch_selfoss_pool
    >>> X, y = fetch_selfoss_pool(return_X_y=True)  # doctest: +SKIP
    """
    check_choice(split, "split", [None, "train", "eval"])
    local = given_folder(folder)
    if local is None:
        source = download(
            _published.selfoss_files(),
            data_home=data_home,
            download_if_missing=download_if_missing,
            n_retries=n_retries,
            delay=delay,
            files=_FILE,
        )
        source = source / "train"
        records = _published.read_selfoss(source)
    elif packed := first_existing(local, (".", "selfoss"), [_FILE]):
        source = packed
        records = read_pool(packed / _FILE)
    elif raw := first_existing(
        local, ("compressed_data/train", "data/train", "train"), ["SelfOSSInstructSC2_filtered2"]
    ):
        source = raw
        records = _published.read_selfoss(raw)
    else:
        raise FileNotFoundError(f"There is no {_FILE} in {local}. {HINT.format(files=_FILE)}")
    return finish(
        records,
        split=split,
        as_frame=as_frame,
        return_X_y=return_X_y,
        title="Coding prompts answered by five language models",
        source=source,
        scores="Share of unit tests passed, in [0, 1].",
        split_words='The authors\' own: "train" or "eval".',
    )
