"""The budget of a study as waiting trials in its storage.

Creating a study enqueues as many trials as its budget has: first those whose parameters are known (baselines, the
points of a grid), then empty ones. A worker claims one at a time and never makes any, so no number of workers
overshoots, the dashboard shows what is left, and a stock ``optuna ask`` takes from the same budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from tunemax.search.storage import attributes
from tunemax.search.storage.climbing import climbed, follows
from tunemax.search.storage.database import study_id
from tunemax.search.storage.ownership import ATTEMPTS, stuck, take
from tunemax.search.storage.study_tables import FIXED
from tunemax.search.storage.trials import live

UNFINISHED = (TrialState.WAITING, TrialState.RUNNING)


def enqueue(study: optuna.Study, known: Sequence[Mapping[str, Any]], count: int) -> None:
    """Add exactly `count` waiting trials to a study in whatever storage, one by one: see `waiting`."""
    trials = study.get_trials(deepcopy=False) if known else []
    there = [trial.system_attrs.get(FIXED, {}) for trial in trials]
    for attrs in waiting(known, there, count):
        study.add_trial(create_trial(state=TrialState.WAITING, system_attrs=attrs))


def waiting(known: Sequence[Mapping[str, Any]], there: Iterable[Mapping[str, Any]], count: int) -> list[dict[str, Any]]:
    """The system attributes of `count` waiting trials: those of known parameters first, then empty ones that a sampler
    fills when claimed.

    A known trial may leave parameters out; the sampler then chooses those. One that the study has already is not added
    again. Known trials beyond the count are left out. there: the known parameters that the study has.
    """
    points = {frozenset(params.items()) for params in there}
    missing = [params for params in known if frozenset(params.items()) not in points]
    marks = {attributes.KNOWN: True}
    return [
        {FIXED: dict(params), **(marks if params else {})}
        for params in [*missing, *({} for _ in range(count - len(missing)))][: max(count, 0)]
    ]


def claim(
    study_name: str,
    storage: optuna.storages.BaseStorage,
    sampler: BaseSampler,
    pruner: BasePruner | None = None,
    mark: str | None = None,
    *,
    beside_others: bool = False,
) -> optuna.Trial | None:
    """Take one waiting trial and set it running; None if none is left.

    mark: by which the claimer is known, and found out when it has died. beside_others: leave trials alone on which
    all but the last allowed worker has died: they may kill what is trained beside them.

    Interrupted trials go first, then known ones, then the rest, by number within each. Known ones that leave their rate
    to the ladder go behind the rest until all its rungs have ended, and those that must train alone go last. One that
    would train what somebody trains at the moment is left alone: see `ownership.settle`. However many processes claim,
    each trial goes to one of them. The trial belongs to a Study object of its own, so nothing that was cached for
    another trial is seen. Raises TunemaxError for an unknown study.
    """
    # Optuna's cache must have seen a trial before it takes parameters for it
    storage = optuna.storages.get_storage(storage)
    key = study_id(storage, study_name)
    waiting = storage.get_all_trials(key, deepcopy=False, states=(TrialState.WAITING,))
    unfinished = storage.get_all_trials(key, deepcopy=False, states=UNFINISHED) if any(map(follows, waiting)) else []
    for trial in sorted(waiting, key=partial(_order, climbing=not climbed(unfinished))):
        if beside_others and must_be_alone(trial):
            continue
        if take(storage, trial, mark):
            study = optuna.load_study(study_name=study_name, storage=storage, sampler=sampler, pruner=pruner)
            return live(study, trial)
    return None


def ask(study: optuna.Study, mark: str) -> optuna.Trial:
    """Take a waiting trial of a study, with its sampler and pruner, or a new one where none waits.

    A new one waits first, too: so there is no moment in which it runs without a mark.
    """
    while not (trial := claim(study.study_name, study._storage, study.sampler, study.pruner, mark)):
        enqueue(study, [], 1)
    return trial


def deferred(trials: Sequence[FrozenTrial]) -> set[int]:
    """The numbers of a study's trials that wait although a slot may be free: a worker trains an equal one, their twin.

    They are duplicates if it ends well, and train if it fails.
    """
    identities = {
        trial.user_attrs.get(attributes.IDENTITY)
        for trial in trials
        if trial.state == TrialState.RUNNING and attributes.WORKER in trial.user_attrs
    } - {None}
    waiting = (trial for trial in trials if trial.state == TrialState.WAITING)
    return {trial.number for trial in waiting if trial.user_attrs.get(attributes.IDENTITY) in identities}


def in_hand(trials: Sequence[FrozenTrial]) -> int:
    """How many of a study's trials workers have. Nobody waits for one that was asked for with the stock tools."""
    return sum(trial.state == TrialState.RUNNING and attributes.WORKER in trial.user_attrs for trial in trials)


def to_take(trials: Sequence[FrozenTrial]) -> int:
    """How many of a study's trials wait and can be taken."""
    return sum(trial.state == TrialState.WAITING for trial in trials) - len(deferred(trials))


def must_be_alone(trial: FrozenTrial) -> bool:
    """Whether so many workers have died on a trial that the next one should train nothing beside it."""
    return stuck(attributes.failures(trial.user_attrs.get(attributes.FAILURES)), trial.last_step or 0) >= ATTEMPTS - 1


def _order(trial: FrozenTrial, climbing: bool) -> tuple[int, int]:
    """climbing: whether rungs of a ladder are yet to end."""
    interrupted, known = bool(trial.params), bool(trial.system_attrs.get("fixed_params"))
    alone, postponed = must_be_alone(trial), climbing and follows(trial)
    return (4 if alone else 3 if postponed else 0 if interrupted else 1 if known else 2, trial.number)
