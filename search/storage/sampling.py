"""The sampler of one sibling study: what Optuna's own is shown of the trials, and when it is asked again.

A diverged trial is COMPLETE with a bad value. TPE ranks complete trials before pruned ones, and those by how far they
came, so it would count a diverged trial among the good ones ahead of all that were pruned. And no sampler of Optuna's
looks whether its guess is a point that the study has already. The ladder is climbed here,
too: a baseline that leaves its rate open gets the best one so far.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Container, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, _get_single_value
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from tunemax.gpt.fields import Value
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.ladder import RATE, rungs
from tunemax.search.question.points import RandomPoints
from tunemax.search.question.suggest import distributions, suggest
from tunemax.search.storage.attributes import has_diverged
from tunemax.search.storage.climbing import best_rate, follows

GUESSES = 8
"""Times that a sampler is asked for a point that the study has not yet."""
DRAWS = 256
"""Times that one is drawn at random then. In a small space all may be taken."""

Point = frozenset[tuple[str, Any]]


class SiblingSampler(BaseSampler):
    """Asks a sampler of Optuna's for whole points of a sibling's space.

    A guess that is taken, by a trial that waits, runs or is done, is made again. Points that are drawn and not guessed
    stay as they are: they are the same in all siblings.

    Args:
        inner: Optuna's sampler.
        definition, fixed: of the question, and the values that the sibling fixes.
    """

    def __init__(self, inner: BaseSampler, definition: StudyDefinition, fixed: Mapping[str, Value]) -> None:
        self.inner, self._definition, self._fixed = inner, definition, fixed

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return distributions(self._definition, self._fixed)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        trials = study.get_trials(deepcopy=False)
        taken = {_point(other) for other in trials if other.number != trial.number}
        seen = Seen(study, self._as_shown(trials))
        led = self._led(trial, trials)
        for _ in range(GUESSES):
            draft = self._draft(self.inner, seen, trial, led)
            if not draft.guessed or draft.point not in taken:
                return draft.params
        for index in range(DRAWS):
            other = self._draft(RandomPoints(self._definition.seed, "another", index), seen, trial, led)
            if other.point not in taken:
                return other.params
        return draft.params

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """For a parameter that is not in the definition: somebody asks by hand."""
        seen = Seen(study, self._as_shown(study.get_trials(deepcopy=False)))
        return self.inner.sample_independent(seen, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.inner.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self.inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self.inner.reseed_rng()

    def _led(self, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> dict[str, Any]:
        """What the ladder gives to a known trial that has left its rate open: the best one so far, or the first."""
        rates = rungs(self._definition, self._fixed)
        return {RATE: best_rate(trials) or rates[0]} if rates and follows(trial) else {}

    def _draft(self, sampler: BaseSampler, study: optuna.Study, trial: FrozenTrial, led: Mapping[str, Any]) -> Draft:
        draft = Draft(sampler, study, trial, led)
        suggest(draft, self._definition, self._fixed)
        return draft

    def _as_shown(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """The trials, with every diverged one behind all others.

        For TPE it is a pruned trial that has reported nothing, which comes last. Others know complete trials only, and
        keep away from bad values; there it is a little worse than the worst trial. At its own value, the cap, it would
        be so far off that a Gaussian process hardly told the others apart. While it would be the best that they know,
        since all others were pruned, they do not know it either.
        """
        lasted = [trial for trial in trials if _has_lasted(trial)]
        unknown = bool(lasted) and all(trial.state == TrialState.PRUNED for trial in lasted)
        pruned = unknown or isinstance(self.inner, TPESampler)
        worst = max(map(_last_value, lasted), default=0.0)
        return [_diverged(trial, pruned, worst) if has_diverged(trial) else trial for trial in trials]


class Seen(optuna.Study):
    """A study in which a sampler sees other trials than the storage has."""

    def __init__(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
        self.__dict__.update(study.__dict__)
        self._seen = trials

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        found = [trial for trial in self._seen if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found


class Draft(FixedTrial):
    """A trial that is to get parameters, asked for them as Optuna's own is, without writing any.

    led: those of its parameters that the ladder decides.
    """

    def __init__(self, sampler: BaseSampler, study: optuna.Study, trial: FrozenTrial, led: Mapping[str, Any]) -> None:
        given = {**trial.system_attrs.get("fixed_params", {}), **led, **trial.params}
        super().__init__(given, trial.number)
        self._sampler, self._study, self._trial = sampler, study, trial
        self._relative: dict[str, Any] | None = None

    @property
    def guessed(self) -> bool:
        """Whether the sampler has made a guess of its own; else the point is one of a sequence."""
        return bool(self._relative)

    @property
    def point(self) -> Point:
        return frozenset(self.params.items())

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        # A given one that the dimension cannot have is the real trial's to complain about
        value = self._params[name] if name in self._params else self._ask(name, distribution)
        self._suggested_params[name] = value
        return value

    def _ask(self, name: str, distribution: BaseDistribution) -> Any:
        if distribution.single():
            return _get_single_value(distribution)
        if self._relative is None:
            space = self._sampler.infer_relative_search_space(self._study, self._trial)
            self._relative = self._sampler.sample_relative(self._study, self._trial, space)
        if name in self._relative:
            return self._relative[name]
        return self._sampler.sample_independent(self._study, self._trial, name, distribution)


def _point(trial: FrozenTrial) -> Point:
    """Parameters of a trial, or those that it will have at least."""
    return frozenset((trial.params or trial.system_attrs.get("fixed_params", {})).items())


def _has_lasted(trial: FrozenTrial) -> bool:
    """Whether a trial was trained to the horizon, or stopped with something to show."""
    return not has_diverged(trial) and (
        trial.state == TrialState.COMPLETE or (trial.state == TrialState.PRUNED and bool(trial.intermediate_values))
    )


def _last_value(trial: FrozenTrial) -> float:
    if trial.state == TrialState.COMPLETE:
        return float(trial.values[0])
    return trial.intermediate_values[max(trial.intermediate_values)]


def _diverged(trial: FrozenTrial, pruned: bool, worst: float) -> FrozenTrial:
    shown = copy.copy(trial)
    if pruned:
        shown.state, shown.values, shown.intermediate_values = TrialState.PRUNED, None, {}
    else:
        shown.values = [math.nextafter(worst, math.inf)]
    return shown
