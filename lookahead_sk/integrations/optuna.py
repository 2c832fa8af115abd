"""An Optuna sampler that plans two evaluations ahead under constraints.

Optuna's storages then give persistence, many workers on many machines, and a dashboard. The sampler
keeps no state of its own besides a seed: what it needs is read from the study at every trial, so
that any number of workers may come and go.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

try:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler, RandomSampler
    from optuna.search_space import IntersectionSearchSpace
    from optuna.study import Study, StudyDirection
    from optuna.trial import FrozenTrial, TrialState
except ImportError as error:
    raise ImportError(
        "lookahead_sk.integrations.optuna needs Optuna 5: pip install lookahead-sk[optuna]"
    ) from error

from lookahead_sk._files import SENSELESS
from lookahead_sk._validation import Words, check_choice, check_int, reject
from lookahead_sk.integrations._optuna_branches import ConditionalDistributions, learn_branches
from lookahead_sk.integrations._optuna_space import (
    has_too_many_integers,
    is_inside,
    modelled,
    to_bounds,
    to_params,
    to_point,
)
from lookahead_sk.optimization import TwoStepConstrainedBO
from lookahead_sk.optimization._design import design_points
from lookahead_sk.optimization._dimensions import LARGEST_WHOLE, MOST_CHOICES
from lookahead_sk.optimization._first_points import make_region
from lookahead_sk.optimization._kernel_conversion import kernels_to_try
from lookahead_sk.optimization._known_constraints import read_known_constraints
from lookahead_sk.optimization._problem import NEIGHBOURHOOD
from lookahead_sk.optimization._run_state import describe_starts, restore_starts
from lookahead_sk.optimization._space import make_space
from lookahead_sk.optimization._trust_region import TrustRegion

_PARAMS_KEY = "two_step:relative_params"
_PLAN_KEY = "two_step:is_plan"
_FIT_KEY = "two_step:fit"
_FIRST_SPARE, _MOST_SPARE = 2**12, 64  # points of the design for trials whose own is taken
_EQUAL = 1e-9  # distance in the unit cube
_CHUNK = 2045  # characters that every storage takes in one attribute


class TwoStepConstrainedSampler(BaseSampler):
    """Sample parameters by two-step lookahead under constraints.

    Constraints are those that the objective function reports by ``trial.set_constraint(name,
    value)``: feasible where ``value <= 0``. They are modelled like the objective, and need not be
    known before a trial has run.

    Parameters
    ----------
    seed : int, default=None
        Makes a study with one worker reproducible, also when it is interrupted and resumed.
    n_startup_trials : int, default=None
        Trials of a Sobol design before the first model; None: ``max(5, n_parameters + 1)``.
    acquisition : {"two_step", "eic"}, default="two_step"
        See `TwoStepConstrainedBO`.
    known_constraints : callable or list of callables, default=None
        Limits that are formulas of the parameters. Each gets a list of dicts of the modelled
        parameters, as in ``trial.params``, and returns one value a dict, or a row of values, met
        where ``<= 0``. No trial whose parameters are sampled together violates one; the first trial
        of a study is sampled before the parameters are known, unless `study.enqueue_trial` has
        given one.
    learns_from_failures : bool, default=True
        Whether a failed trial says that its parameters are bad. False ignores failed trials, as
        Optuna's own samplers do: right where trials fail because machines do.
    independent_sampler : optuna.samplers.BaseSampler, default=None
        For the first trial, for parameters that no trial has had yet, and for those that are not
        modelled: that only some trials have, or have with other distributions, without a parameter
        that decides it, and lists of more than 250 choices together. A warning names them. None:
        `optuna.samplers.RandomSampler`.

    See Also
    --------
    lookahead_sk.TwoStepConstrainedBO : The optimiser, without Optuna.

    Notes
    -----
    The model covers the parameters that all completed trials have with the same distribution, and
    conditional ones: where up to three categories, or integers of up to 20 values, say which
    parameters a trial has, trials are branches of one space, as for a list of mappings in
    `TwoStepConstrainedBO`. This is learned from completed trials. The model's fit begins where that
    of the latest trial has ended, as in asks and tells of one optimiser.
    Trials that other workers run at the moment are taken into account: their points are expected to
    give what the model predicts. The trial of a worker that was killed stays "running" in the study
    until it is marked as failed; until then it only keeps new trials away from its own point.

    Pruned trials, and completed trials that lack a constraint that others have, are left out.

    Examples
    --------
    >>> import optuna
    >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
    >>> def objective(trial):
    ...     x, y = trial.suggest_float("x", 0, 6), trial.suggest_float("y", 0, 6)
    ...     trial.set_constraint("product", 1 - x * y)
    ...     return x + y
    >>> study = optuna.create_study(sampler=TwoStepConstrainedSampler(seed=0))
    >>> study.optimize(objective, n_trials=12)
    >>> bool(study.best_value < 2.3)
    True
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        n_startup_trials: int | None = None,
        acquisition: str = "two_step",
        known_constraints: Any = None,
        learns_from_failures: bool = True,
        independent_sampler: BaseSampler | None = None,
    ) -> None:
        if n_startup_trials is not None:
            check_int(n_startup_trials, "n_startup_trials", 1)
        if seed is not None:
            check_int(seed, "seed", 0)
        self._seed = _fresh_seed() if seed is None else seed
        self._n_startup_trials = n_startup_trials
        self._acquisition = check_choice(acquisition, "acquisition", ("two_step", "eic"))
        self._known_constraints = _check_callables(known_constraints)
        self._learns_from_failures = learns_from_failures
        self._independent_sampler = independent_sampler or RandomSampler(seed=seed)
        self._search_space = IntersectionSearchSpace()
        self._announced: set[str] = set()

    def reseed_rng(self) -> None:
        """Take another seed: Optuna calls it in every thread or process that copies a sampler."""
        self._seed = _fresh_seed()
        self._independent_sampler.reseed_rng()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Refuse studies of several objectives.

        Parameters
        ----------
        study : optuna.Study
            The study.
        trial : optuna.trial.FrozenTrial
            The trial that begins.
        """
        if len(study.directions) > 1:
            hint = "Turn all objectives but one into constraints: trial.set_constraint."
            reject(
                "study", "a study of one objective", Words(f"{len(study.directions)}"), hint=hint
            )
        self._independent_sampler.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Pass on to the independent sampler.

        Parameters
        ----------
        study : optuna.Study
            The study.
        trial : optuna.trial.FrozenTrial
            The trial that ends.
        state : optuna.trial.TrialState
            How it ended.
        values : sequence of float or None
            Its result.
        """
        self._independent_sampler.after_trial(study, trial, state, values)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The parameters that are modelled: shared by all completed trials, or of a branch.

        Parameters
        ----------
        study : optuna.Study
            The study.
        trial : optuna.trial.FrozenTrial
            The trial that begins.

        Returns
        -------
        dict
            Their distributions, by name.
        """
        branches = learn_branches(_completed(study))
        shared = self._search_space.calculate(study)
        return modelled(shared if branches is None else branches)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Sample a parameter that is not modelled.

        Parameters
        ----------
        study : optuna.Study
            The study.
        trial : optuna.trial.FrozenTrial
            The trial that begins.
        param_name : str
            Its name.
        param_distribution : optuna.distributions.BaseDistribution
            Its distribution.

        Returns
        -------
        object
            Its value.
        """
        self._announce(study, param_name, param_distribution)
        return self._independent_sampler.sample_independent(
            study, trial, param_name, param_distribution
        )

    def _announce(self, study: Study, name: str, distribution: BaseDistribution) -> None:
        """Say once why a parameter is not modelled, unless there is nothing to model yet."""
        if name in self._announced:
            return
        completed = _completed(study)
        known = [t.distributions[name] for t in completed if name in t.distributions]
        branches = learn_branches(completed)
        if not known or (branches is not None and name in modelled(branches)):
            return
        self._announced.add(name)
        if len(known) < len(completed):
            reason = "is missing in some completed trials, and no other parameter says in which"
        elif has_too_many_integers(distribution):
            reason = f"has integers larger than {LARGEST_WHOLE}"
        elif all(d == distribution for d in known):
            reason = f"has, with the other lists, more than {MOST_CHOICES} choices"
        else:
            reason = f"had another distribution in some completed trials, now {distribution}"
        warnings.warn(
            f"Parameter {name!r} {reason}: it is not modelled, but sampled by "
            f"{type(self._independent_sampler).__name__}.",
            UserWarning,
            stacklevel=2,
        )

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Sample the modelled parameters together.

        Parameters
        ----------
        study : optuna.Study
            The study.
        trial : optuna.trial.FrozenTrial
            The trial that begins.
        search_space : dict
            Their distributions, by name.

        Returns
        -------
        dict
            Their values, by name.
        """
        if not search_space:
            return {}
        others = _others(study, trial, search_space)
        params = self._propose(study, trial, search_space, others)
        _publish(study, trial, params, search_space)
        # Another worker may have planned at the same time, and not have seen us either: whoever
        # finds, after publishing, that the other was first yields, whichever trial is older.
        considered = {t.number for t in others}
        others = _others(study, trial, search_space)
        missed = [t for t in others if t.number not in considered]
        if _coincides(params, missed, search_space):
            params = self._propose(study, trial, search_space, others)
            _publish(study, trial, params, search_space)
        return params

    def _propose(
        self,
        study: Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
        others: Sequence[FrozenTrial],
    ) -> dict[str, Any]:
        """Parameters of the next trial."""
        known = _Known(study, others, search_space, self._learns_from_failures)
        running = [t for t in others if t.state == TrialState.RUNNING]
        waiting = [to_point(_params_of(t, search_space), search_space) for t in running]
        n_startup = self._n_startup_trials or max(5, len(search_space) + 1)
        if not known.has_data or len(known.points) + len(running) < n_startup:
            point = self._design(trial.number, search_space, [*known.points, *waiting])
        else:
            optimizer = TwoStepConstrainedBO(
                to_bounds(search_space),
                len(known.constraints),
                known_constraints=self._known_of_points(search_space),
                acquisition=self._acquisition,
                n_initial=1,
                random_state=_mix(self._seed, trial.number),
            )
            optimizer.tell(known.points, known.outputs)
            _begin_where_others_ended(optimizer, others, known)
            if running:
                optimizer.add_pending(waiting)
            plan_pending = known.plan_pending or optimizer.plan_pending_
            (point,) = optimizer.ask(plan_pending=plan_pending)
            plan_pending = optimizer.plan_pending_
            study._storage.set_trial_system_attr(trial._trial_id, _PLAN_KEY, plan_pending)
            content = {
                **known.identity,
                "starts": describe_starts(optimizer._fitted_state().next_starts),
                "trust_region": optimizer._fitted_state().trust_region.to_json(),
            }
            _write(study, trial, _FIT_KEY, content)
        return to_params(point, search_space)

    def _design(
        self,
        number: int,
        search_space: Mapping[str, BaseDistribution],
        taken: Sequence[Mapping[str, Any]],
    ) -> dict[str, Any]:
        """The point of one Sobol sequence that belongs to the number of a trial.

        Where it is taken already, as happens in finite spaces, a later one that no trial owns.
        """
        space = make_space(to_bounds(search_space))
        known = space.encode(taken) if taken else np.empty((0, space.n_unit))
        formulas = read_known_constraints(self._known_of_points(search_space), space)
        region = make_region(space, formulas, None, known, _mix(self._seed, 0))
        numbers = [number, *range(_FIRST_SPARE + number, _FIRST_SPARE + number + _MOST_SPARE)]
        for n in numbers:
            unit = space.snap(design_points(space, n, n + 1, _mix(self._seed, 0)))
            if not region.is_allowed(unit)[0]:
                continue
            if not (space.distance(known, unit[0]) < _EQUAL).any():
                break
        if not region.is_allowed(unit)[0]:
            legal = region.filled(unit, 1, _mix(self._seed, number))
            unit = legal[[number % len(legal)]]
        (point,) = space.decode(unit)
        return dict(point)

    def _known_of_points(self, search_space: Mapping[str, BaseDistribution]) -> Any:
        """The known constraints as callables on points of the optimiser, None for none."""
        if not self._known_constraints:
            return None

        def of_points(function: Any) -> Any:
            return lambda points: function([to_params(p, search_space) for p in points])

        return [of_points(function) for function in self._known_constraints]


class _Known:
    """What the finished trials of a study say."""

    def __init__(
        self,
        study: Study,
        others: Sequence[FrozenTrial],
        search_space: Mapping[str, BaseDistribution],
        learns_from_failures: bool,
    ) -> None:
        finished = [t for t in others if t.state in (TrialState.COMPLETE, TrialState.FAIL)]
        completed = [t for t in finished if t.state == TrialState.COMPLETE]
        self.constraints = sorted({name for t in completed for name in t.constraints})
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        points, rows = [], []
        for trial in finished:
            row = self._row(trial, sign, learns_from_failures)
            if row is not None and is_inside(trial.params, search_space):
                points.append(to_point(trial.params, search_space))
                rows.append(row)
        self.points = points
        self.identity = {"parameters": _names_of(search_space), "constraints": self.constraints}
        self.outputs = np.array(rows, dtype=float).reshape(-1, 1 + len(self.constraints))
        self.outputs[~np.isfinite(self.outputs).all(axis=1)] = np.nan
        self.has_data = bool(np.isfinite(self.outputs).all(axis=1).any())
        # As asks do, trials alternate between beginning a plan and ending it, whatever their state.
        plans = [t for t in others if _PLAN_KEY in t.system_attrs]
        last = max(plans, key=lambda t: t.number, default=None)
        self.plan_pending = last is not None and bool(last.system_attrs[_PLAN_KEY])

    def _row(self, trial: FrozenTrial, sign: float, learns: bool) -> list[float] | None:
        """Outputs of a trial, to be minimised; None for a trial that is left out."""
        if trial.state == TrialState.FAIL:
            return [np.nan] * (1 + len(self.constraints)) if learns else None
        values = trial.constraints
        if set(self.constraints) - set(values):
            return None
        return [sign * float(trial.values[0]), *(values[name] for name in self.constraints)]


def _check_callables(given: Any) -> list[Any]:
    """The callables that the parameter ``known_constraints`` holds, or raise."""
    if given is None:
        return []
    functions = list(given) if isinstance(given, list | tuple) else [given]
    for function in functions:
        if not callable(function):
            accepted = "a callable on a list of dicts, or a list of these"
            reject("known_constraints", accepted, function, kind=TypeError)
    return functions


def _fresh_seed() -> int:
    return int(np.random.SeedSequence().generate_state(1)[0] >> 1)


def _mix(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)


def _completed(study: Study) -> list[FrozenTrial]:
    return study._get_trials(deepcopy=False, states=(TrialState.COMPLETE,), use_cache=True)


def _names_of(search_space: Mapping[str, BaseDistribution]) -> list[Any]:
    """What says, as JSON, whether two search spaces have the same coordinates."""
    if not isinstance(search_space, ConditionalDistributions):
        return [*search_space]
    return [
        [[name, *branch.values.get(name, ())] for name in branch.distributions]
        for branch in search_space.branches
    ]


def _others(
    study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
) -> list[FrozenTrial]:
    """Other trials that have ended, or run and have their parameters decided, in one reading.

    A trial that ends between two readings would be in neither. Pruned trials have no outcome.
    """
    states = (TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED, TrialState.RUNNING)
    trials = study._get_trials(deepcopy=False, states=states, use_cache=False)
    return [
        t
        for t in trials
        if t.number != trial.number
        and (t.state.is_finished() or is_inside(_params_of(t, search_space), search_space))
    ]


def _publish(
    study: Study,
    trial: FrozenTrial,
    params: Mapping[str, Any],
    search_space: Mapping[str, BaseDistribution],
) -> None:
    """Let other workers know a proposal before the objective function has asked for it."""
    internal = {
        name: d.to_internal_repr(params[name]) for name, d in search_space.items() if name in params
    }
    _write(study, trial, _PARAMS_KEY, internal)


def _write(study: Study, trial: FrozenTrial, key: str, content: Any) -> None:
    """Keep JSON with a trial, in parts that every storage takes."""
    text = json.dumps(content)
    for i in range(0, len(text), _CHUNK):
        part = text[i : i + _CHUNK]
        study._storage.set_trial_system_attr(trial._trial_id, f"{key}:{i // _CHUNK}", part)


def _read(trial: FrozenTrial, key: str) -> Any:
    """What `_write` has written, an empty dict for nothing."""
    parts, i = [], 0
    while (part := trial.system_attrs.get(f"{key}:{i}")) is not None:
        parts.append(part)
        i += 1
    try:
        return json.loads("".join(parts)) if parts else {}
    except json.JSONDecodeError:  # another worker is in the middle of writing it
        return {}


def _begin_where_others_ended(
    optimizer: TwoStepConstrainedBO, others: Sequence[FrozenTrial], known: _Known
) -> None:
    """Start the fit from that of the latest trial, as asks and tells of one optimiser do."""
    for trial in sorted(others, key=lambda t: t.number, reverse=True):
        content = _read(trial, _FIT_KEY)
        if content and {key: content.get(key) for key in known.identity} == known.identity:
            break
    else:
        return
    state = optimizer._fitted_state()
    kernels = kernels_to_try(None, state.space.n_unit)
    try:
        starts = restore_starts(content["starts"], "starts", kernels, state.n_constraints)
        region = TrustRegion.from_json(
            content["trust_region"], state.space.n_unit, 1 + state.n_constraints
        )
    except SENSELESS:  # of another version
        return
    state = replace(state, starts=starts, trust_region=region)
    optimizer._state = state.with_exploit_step_judged()


def _params_of(trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """Parameters of a running trial: the published ones, then those that were asked for."""
    internal = _read(trial, _PARAMS_KEY)
    published = {
        name: d.to_external_repr(internal[name])
        for name, d in search_space.items()
        if name in internal
    }
    return {**published, **trial.params}


def _coincides(
    params: Mapping[str, Any],
    others: Sequence[FrozenTrial],
    search_space: Mapping[str, BaseDistribution],
) -> bool:
    params_of_others = [_params_of(t, search_space) for t in others]
    points = [to_point(p, search_space) for p in params_of_others if is_inside(p, search_space)]
    if not points:
        return False
    space = make_space(to_bounds(search_space))
    here = space.encode([to_point(params, search_space)])
    return bool((space.distance(space.encode(points), here[0]) < NEIGHBOURHOOD).any())
