"""A routing problem made on the spot: prompts with known answers, solved by small programs."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state

from lookahead_sk._validation import check_int
from lookahead_sk.datasets._bunch import check_names, object_array, routing_bunch
from lookahead_sk.datasets._solving._kinds import KINDS
from lookahead_sk.datasets._solving._solvers import SOLVERS

# Redraws before a prompt that was drawn already is accepted again: single-digit sums run out.
_MAX_REDRAWS = 50

_DESCR = """\
Prompts with known answers, solved by small programs
----------------------------------------------------

{n_prompts} prompts of {n_kinds} kinds in varied wordings:
{kinds}.
Every prompt is drawn with its true answer. The candidate models are programs that see the text
alone, read it, work something out by their own, partly wrong, rules and write a text:

{models}

scores
    The final answer is read from the text and graded in [0, 1] against the truth. In part right
    are a conversion within 5 % and a time in the wrong half of the day (1/2), a date in the right
    month (1/4), a string at least 80 % alike (half its likeness) and a sorted list (the share of
    items at their place). A refusal or an answer that was cut off scores 0.
costs
    US dollars per 1,000 calls, invented, but in the order of the models' skill.
"""


def _draw_distinct(kind: str, rng: np.random.RandomState, seen: set[str]) -> tuple[str, Any]:
    for _ in range(_MAX_REDRAWS):
        prompt, truth = KINDS[kind].draw(rng)
        if prompt not in seen:
            break
    seen.add(prompt)
    return prompt, truth


def _describe(n_prompts: int, kinds: Sequence[str], models: Sequence[str]) -> str:
    lines = [f"- {name} ({SOLVERS[name].cost:g}): {SOLVERS[name].about}" for name in models]
    return _DESCR.format(
        n_prompts=n_prompts,
        n_kinds=len(kinds),
        kinds=fill(", ".join(kinds), 96),
        models="\n".join(lines),
    )


def make_routing(
    n_prompts: int = 1000,
    *,
    kinds: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    random_state: int | np.random.RandomState | None = None,
    as_frame: bool = False,
    return_X_y: bool = False,
) -> Bunch | tuple[Any, Any]:
    """Make a routing problem with real answers, without any download.

    The prompts are questions of thirteen kinds whose true answer is known. The candidate models are
    small programs of unequal skill, cost and manner, which read the prompt's text and write a text:
    some ignore operator precedence, forget leap years or overlook doubled letters, one refuses what
    it is unsure of, one explains so much that its answer may be cut off. Scores come from checking
    these texts. Which model is right depends on the kind of prompt and on its details (size of the
    numbers, brackets, number of steps, wording), so that neither one model nor the kind alone
    decides; several models are often right at once.

    Parameters
    ----------
    n_prompts : int, default=1000
        Number of prompts, as evenly over the kinds as possible, in random order.
    kinds : list of str, default=None
        Kinds of prompt; None takes all: "lookup", "logic", "sorting", "string_edit",
        "letter_count", "roman", "sequence", "date_shift", "weekday", "clock", "units",
        "word_problem", "arithmetic".
    models : list of str, default=None
        Candidate models, in the order of the columns; None takes all: "generalist-xl",
        "stepwise-l", "cautious-m", "wordsmith-m", "calculator-s", "estimator-xs". The prompts do
        not depend on this choice.
    random_state : int, RandomState instance or None, default=None
        Determines the prompts; the answers follow from them.
    as_frame : bool, default=False
        Return prompts as a Series, scores and responses as DataFrames whose columns are the models.
    return_X_y : bool, default=False
        Return only ``(prompts, scores)``.

    Returns
    -------
    data : Bunch
        With these attributes:

        prompts : ndarray of shape (n,) of str
            The prompts; distinct, except when a kind has no more different ones to offer.
        scores : ndarray of shape (n, K)
            Score of each model's answer, in [0, 1].
        responses : ndarray of shape (n, K) of str
            The answers.
        models : list of K str
            Names of the models.
        benchmark : ndarray of shape (n,) of str
            Kind of each prompt.
        costs : ndarray of shape (K,)
            Price of a model, in US dollars per 1,000 calls.
        DESCR : str
            Description of the dataset.
    (prompts, scores) : tuple if ``return_X_y`` is True
        The first two attributes.

    Raises
    ------
    ValueError
        If ``n_prompts`` is below 1, or a kind or a model is not known.

    See Also
    --------
    fetch_lookahead_bench : Real language models on seven benchmarks.

    Notes
    -----
    5,000 prompts with six answers each take about three seconds.

    Examples
    --------
    >>> from lookahead_sk.datasets import make_routing
    >>> data = make_routing(200, random_state=0)
    >>> data.scores.shape
    (200, 6)
    >>> bool(data.scores.max(axis=1).mean() > data.scores.mean(axis=0).max() + 0.1)
    True
    """
    n_prompts = check_int(n_prompts, "n_prompts", low=1, closed="left")
    kinds = check_names(kinds, "kinds", list(KINDS))
    models = check_names(models, "models", list(SOLVERS))
    rng = check_random_state(random_state)
    benchmark = rng.permutation(np.resize(rng.permutation(kinds), n_prompts)).tolist()
    seen: set[str] = set()
    drawn = [_draw_distinct(kind, rng, seen) for kind in benchmark]
    responses = [[SOLVERS[model].respond(prompt) for model in models] for prompt, _ in drawn]
    scores = [
        [KINDS[kind].grade(text, truth) for text in texts]
        for kind, (_, truth), texts in zip(benchmark, drawn, responses, strict=True)
    ]
    return routing_bunch(
        prompts=[prompt for prompt, _ in drawn],
        scores=scores,
        responses=responses,
        models=models,
        as_frame=as_frame,
        return_X_y=return_X_y,
        benchmark=object_array(benchmark),
        costs=np.array([SOLVERS[model].cost for model in models]),
        DESCR=_describe(n_prompts, kinds, models),
    )
