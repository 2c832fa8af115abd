"""Which prompts go together: steps of like lengths, cut to what fits into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from lookahead_sk.routing._language_model._sequences import Tokens

Rows = npt.NDArray[np.intp]
Result = TypeVar("Result")

STEPS_PER_BUCKET = 16


def epoch_steps(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[Rows]:
    """Prompts of every optimiser step of an epoch.

    Parameters
    ----------
    lengths : sequence of int
        Length of each of the n prompts.
    batch_size : int
        Prompts in a step; the last step may have fewer.
    seed, epoch : int
        Determine the order: an epoch that is resumed goes on in the same one.

    Returns
    -------
    list of ndarray
        Shuffled; within 16 steps' worth of prompts those of like length stand together.
    """
    rng = np.random.RandomState([seed % 2**32, epoch])
    order = rng.permutation(len(lengths))
    size = np.asarray(lengths)
    steps: list[Rows] = []
    for start in range(0, len(order), batch_size * STEPS_PER_BUCKET):
        bucket = order[start : start + batch_size * STEPS_PER_BUCKET]
        bucket = bucket[np.argsort(size[bucket], kind="stable")]
        steps += [bucket[i : i + batch_size] for i in range(0, len(bucket), batch_size)]
    return [steps[i] for i in rng.permutation(len(steps))]


def within_budget(rows: Sequence[int], costs: Sequence[int], budget: int) -> list[list[int]]:
    """Cut rows into batches of at most ``budget`` padded tokens, one row at least.

    Parameters
    ----------
    rows : sequence of int
        Rows, in any order; they are sorted by cost.
    costs : sequence of int
        Tokens of every row of the data.
    budget : int
        Most tokens of a batch, padding included.

    Returns
    -------
    list of list of int
        Batches, from the shortest rows to the longest.

    Examples
    --------
    >>> within_budget([0, 1, 2, 3], costs=[5, 3, 4, 9], budget=10)
    [[1, 2], [0], [3]]
    """
    batches: list[list[int]] = []
    for row in sorted(rows, key=lambda row: costs[row]):
        if batches and (len(batches[-1]) + 1) * costs[row] <= budget:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


class TokenBudget:
    """A budget of tokens a batch that is halved when memory runs out, and stays so.

    Parameters
    ----------
    tokens : int
        Where it begins.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def shrink(self, error: RuntimeError, n_largest: int) -> None:
        """Halve the budget after an out-of-memory error; raise any other, or one that is final.

        Parameters
        ----------
        error : RuntimeError
            What a forward or backward pass raised.
        n_largest : int
            Rows of the largest batch that was tried: a single row cannot be cut further.
        """
        if not is_out_of_memory(error) or n_largest <= 1:
            raise error
        self.tokens = max(1, self.tokens // 2)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that the memory of a GPU or of the machine is used up."""
    import torch
    from accelerate.utils.memory import should_reduce_batch_size

    return isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)


def in_batches(
    work: Callable[[list[int]], Result],
    prompts: Sequence[Tokens],
    costs: Sequence[int],
    tokens: int,
) -> tuple[list[int], list[Result]]:
    """Do work on all prompts in batches, smaller ones when memory runs out.

    Parameters
    ----------
    work : callable
        From rows to a result.
    prompts : sequence of list of int
        Tokens of each prompt.
    costs : sequence of int
        Tokens that each prompt adds to a batch.
    tokens : int
        Budget of a batch.

    Returns
    -------
    order : list of int
        Rows in the order of the results.
    results : list
        One result a batch.
    """
    budget = TokenBudget(tokens)
    order: list[int] = []
    results: list[Result] = []
    todo = within_budget(range(len(prompts)), costs, budget.tokens)
    while todo:
        batch = todo.pop(0)
        try:
            results.append(work(batch))
        except RuntimeError as error:
            budget.shrink(error, len(batch))
            rest = [row for part in [batch, *todo] for row in part]
            todo = within_budget(rest, costs, budget.tokens)
            continue
        order += batch
    return order, results
