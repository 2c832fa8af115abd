r"""The search for the next points: screen, ascend, leave EIC only for a proven advantage.

The maximiser of the constrained expected improvement EIC is found first, in log space. Two-step
ascent then starts from it and from the best of a screening. The two-step winner replaces EIC's
maximiser only when its paired advantage on common random numbers is significant: under a right
model the two plans differ by a few per cent, less than the noise of one value. The second step of a
plan exploits, see `_exploit`.

========  ==========  ===========================================================
symbol    shape       meaning
========  ==========  ===========================================================
X1        (S, q, d)   batches of the first step
Z         (g, d)      candidates of the second step
shift     ()          log EIC of its maximiser: the unit of all values here
========  ==========  ===========================================================
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lookahead_sk.optimization._acquisition import two_step_samples
from lookahead_sk.optimization._bfgs import ascend
from lookahead_sk.optimization._exploit import find_exploit_point, find_local_step
from lookahead_sk.optimization._gradient import ESTIMATORS
from lookahead_sk.optimization._normal import sobol_normal, sobol_uniform
from lookahead_sk.optimization._posterior import Moments, moments
from lookahead_sk.optimization._problem import (
    NEIGHBOURHOOD,
    Problem,
    SearchOptions,
    condition_on_pending,
)
from lookahead_sk.optimization._region_ascent import ascend_within
from lookahead_sk.optimization._trust_region import ExploitStep, TrustRegion

# Memory of one block of fantasies x batches x candidates x outputs: 32 MB of float64.
_BLOCK = 4_000_000
# Exploit steps begin where EIC with so much smaller standard deviations is largest.
_EXPLOIT_STD_FACTOR, _N_EXPLOIT_STARTS = 0.1, 2
# Where polish is worth nothing: what an exploit step must promise, in parts of the largest EIC.
_LEAST_SHARE = 0.1


def maximize_eic(problem: Problem, options: SearchOptions, seed: int) -> tuple[Tensor, Tensor]:
    """Local maximisers of log EIC, best first.

    Parameters
    ----------
    problem : Problem
        What is maximised.
    options : SearchOptions
        Number of screened points and of starts.
    seed : int
        Seed of the screening points.

    Returns
    -------
    points : Tensor of shape (k, d)
        Distinct local maximisers.
    values : Tensor of shape (k,)
        Their log EIC.
    """
    pool = problem.allowed(_screened(problem, options, seed))
    value = problem.log_eic(pool)
    order = _spread(pool, value, options.n_restarts)
    if problem.region is None:
        points, _ = ascend(problem.log_eic, pool[order], problem.is_free(pool[order]))
    else:
        points, _ = ascend_within(problem.log_eic, pool[order], problem.region)
    points = problem.allowed(problem.snap(torch.cat([points, pool[order[:1]]])))
    value = problem.log_eic(points)
    keep = _spread(points, value, len(points), distance=1e-3)
    return points[keep], value[keep]


def _screened(problem: Problem, options: SearchOptions, seed: int) -> Tensor:
    """Legal points of the pool."""
    pool = problem.snap(_pool(problem, options.n_screen, seed))
    return problem.permitted(pool, options.n_screen // 4, seed)


def _pool(problem: Problem, n: int, seed: int) -> Tensor:
    """Sobol points, and Gaussian steps of five sizes around the best data points."""
    x = problem.posterior.x
    d = x.shape[1]
    everywhere = sobol_uniform(n, d, seed, x)
    if not len(problem.anchor):
        return everywhere
    n_local = n // 4
    normals = sobol_normal(n_local, d, seed + 1, x)
    index = torch.arange(n_local, device=x.device)
    size = 10.0 ** -(0.5 + 0.5 * (index % 5))  # 0.3 to 0.003 of the cube
    local = problem.anchor[index % len(problem.anchor)] + size.unsqueeze(1) * normals
    return torch.cat([everywhere, local.clamp(0, 1)])


def _spread(points: Tensor, value: Tensor, k: int, distance: float = 0.03) -> Tensor:
    """Indices of up to k points, best first, none within a distance of a better one."""
    order = value.argsort(descending=True)[: max(16 * k, 64)]
    kept: list[Tensor] = []
    for i in order:
        if all((points[i] - points[j]).abs().max() > distance for j in kept):
            kept.append(i)
        if len(kept) == k:
            break
    return torch.stack(kept)


def second_step_candidates(
    problem: Problem, optima: Tensor, options: SearchOptions, seed: int
) -> Moments:
    """Candidates of the second step: EIC's optima, the best screened points, and many others."""
    pool = _screened(problem, options, seed)
    value = problem.log_eic(pool)
    g = options.n_candidates
    best = pool[value.topk(min(g // 2, len(pool))).indices]
    d = pool.shape[1]
    near = sobol_normal(g // 4, d, seed + 2, pool)
    index = torch.arange(len(near), device=pool.device)
    size = 10.0 ** -(0.75 + 0.5 * (index % 4))
    near = (optima[index % len(optima)] + size.unsqueeze(1) * near).clamp(0, 1)
    near = problem.permitted(problem.snap(near))
    chosen = torch.cat([optima, best, near, pool[: g // 4]])
    return moments(problem.posterior, chosen)


def greedy_batch(
    problem: Problem, options: SearchOptions, q: int, seed: int
) -> tuple[Tensor, Tensor, Problem]:
    """EIC's batch, point by point, each on the posterior conditioned on the ones before it.

    Parameters
    ----------
    problem : Problem
        What is maximised.
    options : SearchOptions
        Number of screened points and of starts.
    q : int
        Points in the batch.
    seed : int
        Seed of the screening points.

    Returns
    -------
    batch : Tensor of shape (q, d)
        The batch.
    optima : Tensor of shape (k, d)
        Local maximisers of the first point.
    problem : Problem
        The problem; where nothing is left to gain, without what is close to known points.
    """
    points, values = maximize_eic(problem, options, seed)
    if problem.known is not None and problem.is_negligible(float(values[0])):
        problem = problem.away_from_known()
        points, values = maximize_eic(problem, options, seed)
    whole = problem
    batch = [points[:1]]
    for i in range(1, q):
        problem = condition_on_pending(problem, batch[-1])
        nxt, _ = maximize_eic(problem, options, seed + 7 * i)
        batch.append(nxt[:1])
    return torch.cat(batch), points, whole


def exploit_step(
    problem: Problem, options: SearchOptions, seed: int, trust_region: TrustRegion
) -> ExploitStep | None:
    """The point that a model expects to be best, within a trust region.

    Parameters
    ----------
    problem : Problem
        What is searched, with an incumbent.
    options : SearchOptions
        Number of screened points and of starts.
    seed : int
        Seed of the screening points.
    trust_region : TrustRegion
        The radius, and which model is asked first.

    Returns
    -------
    ExploitStep or None
        The step; None if no model expects anything better than the best, or, with
        ``options.is_coarse``, if it promises next to nothing beside EIC's maximiser.
    """
    step = _find_exploit_step(problem, options, seed, trust_region)
    if step is None or not options.is_coarse:
        return step
    point = torch.as_tensor(step.point).to(problem.posterior.x).unsqueeze(0)
    with torch.no_grad():
        expected = float(moments(problem.posterior, point).mean[0, 0])
    _, log_eic = maximize_eic(problem, options, seed)
    is_polish = (problem.incumbent or 0.0) - expected < _LEAST_SHARE * math.exp(float(log_eic[0]))
    return None if is_polish else step


def _find_exploit_step(
    problem: Problem, options: SearchOptions, seed: int, trust_region: TrustRegion
) -> ExploitStep | None:
    """The exploit step, whatever it promises."""
    radius = trust_region.radius
    if trust_region.is_local and (step := find_local_step(problem, radius)) is not None:
        return step
    if problem.known is None:
        problem = problem.excluding(problem.posterior.x)
    points, _ = maximize_eic(replace(problem, std_factor=_EXPLOIT_STD_FACTOR), options, seed)
    found = find_exploit_point(problem, points[:_N_EXPLOIT_STARTS], radius)
    if found is None:
        return None if trust_region.is_local else find_local_step(problem, radius)
    return ExploitStep(found.cpu().numpy(), None, is_local=False)


def maximize_two_step(
    problem: Problem, options: SearchOptions, q: int, seed: int
) -> tuple[Tensor, bool]:
    """The batch with the best two-step value, EIC's unless another is significantly better.

    Parameters
    ----------
    problem : Problem
        What is maximised.
    options : SearchOptions
        What the search may spend.
    q : int
        Points in the batch.
    seed : int
        Seed of all random numbers.

    Returns
    -------
    batch : Tensor of shape (q, d)
        The next points of the unit cube.
    is_plan : bool
        Whether EIC's batch was left.
    """
    greedy, optima, problem = greedy_batch(problem, options, q, seed)
    shift = float(problem.log_eic(greedy[:1]))
    candidates = second_step_candidates(problem, optima, options, seed + 3)
    starts = _screen(problem, candidates, greedy, optima, options, seed + 4, shift)
    final = _climb(problem, candidates, starts, options, seed + 5, shift)
    flat = problem.snap(final.reshape(-1, final.shape[-1])).reshape(final.shape)
    challengers = torch.cat([starts, flat])
    is_legal = ~problem.is_excluded(challengers).any(-1) & _is_spread(challengers)
    challengers = challengers[is_legal]
    batch = choose(problem, candidates, greedy, challengers, options, seed + 6, shift)
    return batch, batch is not greedy


def _screen(
    problem: Problem,
    candidates: Moments,
    greedy: Tensor,
    optima: Tensor,
    options: SearchOptions,
    seed: int,
    shift: float,
) -> Tensor:
    """Starts of the ascent: EIC's batch and the best of 48 by a cheap value, (S, q, d)."""
    d = greedy.shape[1]
    anywhere = problem.permitted(problem.snap(sobol_uniform(24, d, seed, greedy)), 24, seed)
    best = candidates.x[len(optima) : len(optima) + 24]
    first = torch.cat([optima, best, anywhere])
    batches = torch.cat([first.unsqueeze(1), greedy[1:].expand(len(first), -1, -1)], dim=1)
    values = mean_value(problem, candidates, batches, 16, seed, shift)
    keep = _spread(first, values, options.n_restarts - 1)
    return torch.cat([greedy.unsqueeze(0), batches[keep]])


def _climb(
    problem: Problem,
    candidates: Moments,
    starts: Tensor,
    options: SearchOptions,
    seed: int,
    shift: float,
) -> Tensor:
    """Adam with decaying steps on fresh fantasies; the mean of the last third of the iterates."""
    x = starts.clone()
    first, second = torch.zeros_like(x), torch.zeros_like(x)
    tail, n_tail = torch.zeros_like(x), 0
    n_outputs, is_free = len(candidates.mean), problem.is_free(starts)
    for t in range(1, options.max_iter + 1):
        uniform = sobol_uniform(options.n_fantasies, n_outputs * x.shape[1], seed + 31 * t, x)
        _, gradient = ESTIMATORS[options.estimator](
            problem.posterior,
            x,
            candidates,
            uniform.reshape(options.n_fantasies, n_outputs, x.shape[1]),
            problem.incumbent,
            shift,
        )
        gradient = torch.nan_to_num(gradient, posinf=0.0, neginf=0.0) * is_free
        first = 0.8 * first + 0.2 * gradient
        second = 0.95 * second + 0.05 * gradient.square()
        size = 0.04 * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * t / options.max_iter)))
        update = (first / (1 - 0.8**t)) / ((second / (1 - 0.95**t)).sqrt() + 1e-12)
        x = problem.pulled_back((x + size * update).clamp(0, 1), x, 1)
        if 3 * t > 2 * options.max_iter:
            tail, n_tail = tail + x, n_tail + 1
    return problem.pulled_back(tail / n_tail, starts) if n_tail else x


def mean_value(
    problem: Problem, candidates: Moments, batches: Tensor, n: int, seed: int, shift: float
) -> Tensor:
    """Two-step values on n common fantasies, in units of exp(shift), (S,)."""
    return _samples(problem, candidates, batches, n, seed, shift).mean(0)


def _samples(
    problem: Problem, candidates: Moments, batches: Tensor, n: int, seed: int, shift: float
) -> Tensor:
    n_outputs, q = len(candidates.mean), batches.shape[1]
    normals = sobol_normal(n, n_outputs * q, seed, batches).reshape(n, n_outputs, q)
    width = len(batches) * n_outputs * len(candidates.x)
    blocks = normals.split(max(1, _BLOCK // width))
    parts = [
        two_step_samples(problem.posterior, batches, candidates, block, problem.incumbent, shift)
        for block in blocks
    ]
    return torch.cat(parts)


def _is_spread(batches: Tensor) -> Tensor:
    """Which batches (S, q, d) have no two points in one neighbourhood, (S,)."""
    distance = torch.cdist(batches, batches, p=math.inf)
    itself = torch.eye(batches.shape[1], dtype=torch.bool, device=batches.device)
    return (distance.masked_fill(itself, math.inf) >= NEIGHBOURHOOD).all(-1).all(-1)


def _keeps_a_share(problem: Problem, batches: Tensor, share: float, shift: float) -> Tensor:
    """Which batches have a point with this share of EIC's maximum, (S,)."""
    log_eic = problem.log_eic(batches.flatten(0, 1)).reshape(batches.shape[:2])
    return log_eic.amax(1) >= shift + math.log(share)


def choose(
    problem: Problem,
    candidates: Moments,
    safe: Tensor,
    challengers: Tensor,
    options: SearchOptions,
    seed: int,
    shift: float,
) -> Tensor:
    """Leave the safe batch only for a challenger that is significantly better.

    Only challengers that keep a share of what EIC would gain at once are considered: under a wrong
    model a plan that gains nothing at once puts off exploiting forever. The challenger is the best
    of them on one sample. Whether it is better is then tested on fresh scrambled nets, whose means
    are independent, so that their spread gives a valid standard error. Their number doubles while
    the test is undecided.

    Parameters
    ----------
    problem : Problem
        What is maximised.
    candidates : Moments
        Candidates of the second step.
    safe : Tensor of shape (q, d)
        EIC's batch.
    challengers : Tensor of shape (S, q, d)
        Other batches.
    options : SearchOptions
        Significance and largest number of fantasies.
    seed : int
        Seed of the fantasies.
    shift : float
        Log of the unit of the values.

    Returns
    -------
    Tensor of shape (q, d)
        The safe batch or a challenger.
    """
    if options.plan_min_eic_share > 0:
        kept = _keeps_a_share(problem, challengers, options.plan_min_eic_share, shift)
        challengers = challengers[kept]
    if not len(challengers):
        return safe
    values = mean_value(problem, candidates, challengers, 128, seed, shift)
    challenger = challengers[values.nan_to_num(-torch.inf).argmax()]
    if torch.allclose(challenger, safe, atol=1e-4):
        return safe
    pair = torch.stack([challenger, safe])
    differences: list[float] = []
    wanted = 8
    while True:
        for i in range(len(differences), wanted):
            sample = _samples(problem, candidates, pair, 64, seed + 101 * (i + 1), shift)
            differences.append(float((sample[:, 0] - sample[:, 1]).mean()))
        unit = max(map(abs, differences)) or 1.0  # where EIC all but vanishes they are huge
        mean = unit * float(np.mean(np.array(differences) / unit))
        error = unit * float(np.std(np.array(differences) / unit, ddof=1)) / math.sqrt(wanted)
        margin = options.significance * error
        is_decided = abs(mean) > margin or mean + margin < options.min_gain
        if is_decided or 128 * wanted > options.max_fantasies:
            break
        wanted *= 2
    return challenger if mean > options.significance * error else safe
