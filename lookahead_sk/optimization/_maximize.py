r"""The search for the next batch: screen, ascend, leave EIC only for a proven advantage, cash in.

The maximiser of the constrained expected improvement EIC is found first, in log space. Two-step
ascent then starts from it and from the best of a screening. The two-step winner replaces EIC's
maximiser only when its paired advantage on common random numbers is significant: under a right
model the two plans differ by a few per cent, less than the noise of one value.

========  ==========  ===========================================================
symbol    shape       meaning
========  ==========  ===========================================================
X1        (S, q, d)   batches of step one
Z         (g, d)      candidates of step two
shift     ()          log EIC of its maximiser: the unit of all values here
========  ==========  ===========================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lookahead_sk.optimization._acquisition import log_eic, two_step_samples
from lookahead_sk.optimization._ascend import ascend
from lookahead_sk.optimization._gradient import ESTIMATORS
from lookahead_sk.optimization._normal import sobol_normal, sobol_uniform
from lookahead_sk.optimization._posterior import Moments, Posterior, condition, moments

Snap = Callable[[Tensor], Tensor]

# Memory of one block of fantasies x batches x candidates x outputs: 32 MB of float64.
_BLOCK = 4_000_000
_SAME = 1e-6  # distance in the unit cube below which a point is one that is taken


@dataclass(frozen=True)
class Settings:
    """What the search may spend."""

    estimator: str = "stratified"
    n_fantasies: int = 32
    n_restarts: int = 6
    max_iter: int = 15
    n_screen: int = 1024
    n_candidates: int = 192
    max_fantasies: int = 2048
    significance: float = 2.0
    least_gain: float = 1e-3  # relative to EIC: less is not worth more fantasies
    least_share: float = 0.5  # of EIC's maximum that one point of a challenger must keep
    caution: float = 0.1  # what is left of standard deviations when a plan is cashed in
    least_cash: float = 0.5  # of EIC's maximum that the point of cashing in must keep


@dataclass(frozen=True)
class Problem:
    """What is maximised: a posterior, its incumbent, and which points are legal."""

    posterior: Posterior
    incumbent: float | None
    anchor: Tensor  # (a, d), best data points: where local candidates are drawn
    snap: Snap
    is_free: Tensor  # (d,), coordinates that may move continuously
    taken: Tensor | None = None  # (p, d), being evaluated, or not to be asked for again
    caution: float = 1.0  # factor of the standard deviations in EIC


def maximize_eic(problem: Problem, settings: Settings, seed: int) -> tuple[Tensor, Tensor]:
    """Local maximisers of log EIC, best first.

    Parameters
    ----------
    problem : Problem
        What is maximised.
    settings : Settings
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
    pool = _not_taken(problem, problem.snap(_pool(problem, settings.n_screen, seed)))
    value = _log_eic(problem, pool)
    order = _spread(pool, value, settings.n_restarts)
    points, _ = ascend(lambda x: _log_eic(problem, x), pool[order], problem.is_free)
    points = _not_taken(problem, problem.snap(torch.cat([points, pool[order[:1]]])))
    value = _log_eic(problem, points)
    keep = _spread(points, value, len(points), distance=1e-3)
    return points[keep], value[keep]


def _log_eic(problem: Problem, points: Tensor) -> Tensor:
    at = moments(problem.posterior, points)
    # Feasibility is still sought in full: there is nothing to cash in.
    caution = 1.0 if problem.incumbent is None else problem.caution
    return log_eic(at.mean, caution * at.variance.sqrt(), problem.incumbent)


def _is_taken(problem: Problem, points: Tensor) -> Tensor:
    """Which points (.., d) are taken, (..)."""
    if problem.taken is None:
        return torch.zeros(points.shape[:-1], dtype=torch.bool, device=points.device)
    return (torch.cdist(points, problem.taken, p=math.inf) < _SAME).any(-1)


def _not_taken(problem: Problem, points: Tensor) -> Tensor:
    """The points that are not taken; all, where a finite space has no others."""
    is_open = ~_is_taken(problem, points)
    return points[is_open] if is_open.any() else points


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


def second_candidates(problem: Problem, optima: Tensor, settings: Settings, seed: int) -> Moments:
    """Candidates of step two: EIC's optima, the best screened points, and points of all kinds."""
    pool = problem.snap(_pool(problem, settings.n_screen, seed))
    value = _log_eic(problem, pool)
    g = settings.n_candidates
    best = pool[value.topk(min(g // 2, len(pool))).indices]
    d = pool.shape[1]
    near = sobol_normal(g // 4, d, seed + 2, pool)
    index = torch.arange(len(near), device=pool.device)
    size = 10.0 ** -(0.75 + 0.5 * (index % 4))
    near = (optima[index % len(optima)] + size.unsqueeze(1) * near).clamp(0, 1)
    chosen = torch.cat([optima, best, problem.snap(near), pool[: g // 4]])
    return moments(problem.posterior, chosen)


def greedy_batch(
    problem: Problem, settings: Settings, q: int, seed: int, cashes_in: bool = False
) -> tuple[Tensor, Tensor]:
    """EIC's batch, point by point, each on the posterior that believes the ones before it.

    Parameters
    ----------
    problem : Problem
        What is maximised.
    settings : Settings
        Number of screened points and of starts, and the caution of cashing in.
    q : int
        Points in the batch.
    seed : int
        Seed of the screening points.
    cashes_in : bool, default=False
        Whether the first point goes for what the model believes to be best: EIC with standard
        deviations scaled by ``settings.caution``, at a point that has not been evaluated and keeps
        ``settings.least_cash`` of EIC's maximum; without such a point it is EIC's maximiser.

    Returns
    -------
    batch : Tensor of shape (q, d)
        The batch.
    optima : Tensor of shape (k, d)
        Local maximisers of the first point.
    """
    points, values = maximize_eic(problem, settings, seed)
    if cashes_in:
        bolder = _cashing_in(problem, settings.caution)
        bold, _ = maximize_eic(bolder, settings, seed)
        keeps_enough = _log_eic(problem, bold[:1]) >= values[0] + math.log(settings.least_cash)
        if keeps_enough and not _is_taken(bolder, bold[:1]):
            points = bold
    batch = [points[:1]]
    for i in range(1, q):
        problem = believe(problem, batch[-1])
        nxt, _ = maximize_eic(problem, settings, seed + 7 * i)
        batch.append(nxt[:1])
    return torch.cat(batch), points


def _cashing_in(problem: Problem, caution: float) -> Problem:
    known = problem.posterior.x
    taken = known if problem.taken is None else torch.cat([problem.taken, known])
    return replace(problem, caution=caution, taken=taken)


def believe(problem: Problem, points: Tensor) -> Problem:
    """Condition on points as if they had their posterior means (they are being evaluated).

    A believed feasible point also lowers the incumbent. Where nothing promises to be better than
    what is believed, the believed point itself remains the best: it is `taken`.
    """
    posterior = problem.posterior
    with torch.no_grad():
        values = moments(posterior, points).mean
    fresh = torch.cat([posterior.x, points])
    seen = posterior.chol @ posterior.chol.transpose(-1, -2)
    noise = torch.diagonal(seen, dim1=-2, dim2=-1) - posterior.kernel.diag(posterior.x)
    jitter = torch.where(posterior.mask > 0, noise, torch.ones_like(noise)).amin(-1)
    data = (seen @ posterior.weights.unsqueeze(-1)).squeeze(-1) + posterior.offset.unsqueeze(-1)
    mask = torch.cat([posterior.mask, torch.ones_like(values)], dim=1)
    believed = condition(
        posterior.kernel,
        fresh,
        torch.cat([data, values], dim=1),
        jitter.clamp_min(1e-9),
        posterior.offset,
        mask,
    )
    incumbent = problem.incumbent
    holds = (values[1:] <= 0).all(0)
    if holds.any():
        best = float(values[0, holds].min())
        incumbent = best if incumbent is None else min(incumbent, best)
    taken = points if problem.taken is None else torch.cat([problem.taken, points])
    return replace(problem, posterior=believed, incumbent=incumbent, taken=taken)


def maximize_two_step(
    problem: Problem, settings: Settings, q: int, seed: int
) -> tuple[Tensor, bool]:
    """The batch with the best two-step value, EIC's unless another is significantly better.

    Parameters
    ----------
    problem : Problem
        What is maximised.
    settings : Settings
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
    greedy, optima = greedy_batch(problem, settings, q, seed)
    shift = float(_log_eic(problem, greedy[:1]))
    candidates = second_candidates(problem, optima, settings, seed + 3)
    starts = _screen(problem, candidates, greedy, optima, settings, seed + 4, shift)
    final = _climb(problem, candidates, starts, settings, seed + 5, shift)
    flat = problem.snap(final.reshape(-1, final.shape[-1])).reshape(final.shape)
    challengers = torch.cat([starts, flat])
    challengers = challengers[~_is_taken(problem, challengers).any(-1)]
    batch = choose(problem, candidates, greedy, challengers, settings, seed + 6, shift)
    return batch, batch is not greedy


def _screen(
    problem: Problem,
    candidates: Moments,
    greedy: Tensor,
    optima: Tensor,
    settings: Settings,
    seed: int,
    shift: float,
) -> Tensor:
    """Starts of the ascent: EIC's batch and the best of 48 by a cheap value, (S, q, d)."""
    d = greedy.shape[1]
    anywhere = problem.snap(sobol_uniform(24, d, seed, greedy))
    best = candidates.x[len(optima) : len(optima) + 24]
    first = torch.cat([optima, best, anywhere])
    batches = torch.cat([first.unsqueeze(1), greedy[1:].expand(len(first), -1, -1)], dim=1)
    values = mean_value(problem, candidates, batches, 16, seed, shift)
    keep = _spread(first, values, settings.n_restarts - 1)
    return torch.cat([greedy.unsqueeze(0), batches[keep]])


def _climb(
    problem: Problem,
    candidates: Moments,
    starts: Tensor,
    settings: Settings,
    seed: int,
    shift: float,
) -> Tensor:
    """Adam with decaying steps on fresh fantasies; the mean of the last third of the iterates."""
    x = starts.clone()
    first, second = torch.zeros_like(x), torch.zeros_like(x)
    tail, n_tail = torch.zeros_like(x), 0
    n_outputs = len(candidates.mean)
    for t in range(1, settings.max_iter + 1):
        uniform = sobol_uniform(settings.n_fantasies, n_outputs * x.shape[1], seed + 31 * t, x)
        _, gradient = ESTIMATORS[settings.estimator](
            problem.posterior,
            x,
            candidates,
            uniform.reshape(settings.n_fantasies, n_outputs, x.shape[1]),
            problem.incumbent,
            shift,
        )
        gradient = torch.nan_to_num(gradient, posinf=0.0, neginf=0.0) * problem.is_free
        first = 0.8 * first + 0.2 * gradient
        second = 0.95 * second + 0.05 * gradient.square()
        size = 0.04 * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * t / settings.max_iter)))
        update = (first / (1 - 0.8**t)) / ((second / (1 - 0.95**t)).sqrt() + 1e-12)
        x = (x + size * update).clamp(0, 1)
        if 3 * t > 2 * settings.max_iter:
            tail, n_tail = tail + x, n_tail + 1
    return tail / n_tail if n_tail else x


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


def _keeps_a_share(problem: Problem, batches: Tensor, share: float, shift: float) -> Tensor:
    """Which batches have a point with this share of EIC's maximum, (S,)."""
    log_eic = _log_eic(problem, batches.flatten(0, 1)).reshape(batches.shape[:2])
    return log_eic.amax(1) >= shift + math.log(share)


def choose(
    problem: Problem,
    candidates: Moments,
    safe: Tensor,
    challengers: Tensor,
    settings: Settings,
    seed: int,
    shift: float,
) -> Tensor:
    """Leave the safe batch only for a challenger that is significantly better.

    Only challengers that keep a share of what EIC would gain at once are considered: under a wrong
    model a plan that gains nothing now puts off cashing in for ever. The challenger is the best of
    them on one sample; whether it is better is then asked of fresh scrambled
    nets, whose means are independent, so that their spread is an honest standard error. Their
    number doubles while the answer is open.

    Parameters
    ----------
    problem : Problem
        What is maximised.
    candidates : Moments
        Candidates of step two.
    safe : Tensor of shape (q, d)
        EIC's batch.
    challengers : Tensor of shape (S, q, d)
        Other batches.
    settings : Settings
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
    if settings.least_share > 0:
        kept = _keeps_a_share(problem, challengers, settings.least_share, shift)
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
        margin = settings.significance * error
        is_decided = abs(mean) > margin or mean + margin < settings.least_gain
        if is_decided or 128 * wanted > settings.max_fantasies:
            break
        wanted *= 2
    return challenger if mean > settings.significance * error else safe
