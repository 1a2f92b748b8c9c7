"""Baselines, tuned: what an agent has to beat, at the price of one agent's training.

A candidate is a vector; it is tried on the same training instances as all others of its tuning, and is one trial. The
best few are then looked at on validation instances, as agents are, and the best of those is chosen. What a tuning finds
depends on its luck, as an agent does on its seed: so each baseline is tuned several times, with other candidates on
other training instances.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import CmaEsSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from tunemax.envs.agents.scene import Scene
from tunemax.envs.instances import SETS, Instance, find_set
from tunemax.envs.policies import (
    Bound,
    Constant,
    LogLinear,
    Plateau,
    Policy,
    Spline,
    Tunable,
    WarmupCosine,
)
from tunemax.envs.rollouts import Outcome, run
from tunemax.envs.task import Task
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.random import key
from tunemax.search.rl.trials import find_study, kept, open_study, revive, study_name
from tunemax.search.storage import attributes
from tunemax.search.storage.cache import PendingWrites
from tunemax.search.storage.database import study_names
from tunemax.search.storage.marks import mark
from tunemax.search.storage.ownership import finish
from tunemax.search.storage.questions import alone
from tunemax.search.storage.queue import ask
from tunemax.search.storage.urls import storage_errors

KINDS: dict[str, type[Tunable]] = {
    "constant": Constant,
    "warmup_cosine": WarmupCosine,
    "spline": Spline,
    "log_linear": LogLinear,
    "plateau": Plateau,
}
"""The baselines that are tuned: constant is the best static setting, log_linear the simplest feedback."""
SCHEDULES = ("spline", "warmup_cosine")
"""Those that look at progress alone."""
NEED_RATE = ("warmup_cosine", "plateau")
"""They steer the learning rate, and mean nothing where it is not a control."""
SAMPLE = 16
"""Training instances that every candidate is tried on."""
FINALISTS = 4
"""Candidates that are looked at on validation instances."""
LEAST_LOOK = 16
CHOICE = 4
"""The choice among finalists costs at most this part of a budget that pays it on more than LEAST_LOOK instances."""
TUNINGS = 8
"""Of each baseline, unless told otherwise: as many as the seeds of an agent that is published."""
MOST_TUNINGS = SETS["train"].count // SAMPLE
Measured = tuple[float, int]
"""A mean return, and the member-steps that it has cost."""


@dataclass(frozen=True)
class Tuned:
    """What a tuning has come to.

    validation: mean return there. member_steps: of all that the tuning has trained. tuning: its number, from 1.
    """

    kind: str
    trial: int
    vector: list[float]
    validation: float
    member_steps: int
    tuning: int = 1

    @property
    def label(self) -> str:
        """Kind and number, as agents are called by name and seed: `spline 1`."""
        return f"{self.kind} {self.tuning}"

    def policy(self, task: Task) -> Policy:
        return KINDS[self.kind].of(task, self.vector)


def kinds_for(task: Task) -> tuple[str, ...]:
    """The baselines that mean something for a task."""
    return tuple(kind for kind in KINDS if "learning_rate" in task.controls or kind not in NEED_RATE)


def check_kind(kind: str, task: Task) -> None:
    """Refuse a baseline that does not exist, or means nothing for the task."""
    if kind not in KINDS:
        raise TunemaxError(f"policy = {kind}: no such baseline{did_you_mean(kind, KINDS)}")
    if kind not in kinds_for(task):
        others = ", ".join(kinds_for(task))
        raise TunemaxError(
            f"policy = {kind}: it steers the learning rate, which is no control here; choose of {others}"
        )


def tune(
    storage: RDBStorage,
    scene: Scene,
    kind: str,
    tuning: int,
    member_steps: int,
    report: Callable[[int, float], None],
) -> Tuned:
    """Tune a baseline until its trials have cost so many member-steps, those of earlier calls included.

    tuning: which one, from 1; each has a study, a sampler's seed and training instances of its own. report: told what
    was spent so far and the best return. The last candidate may overshoot. Raises TunemaxError for a budget that does
    not pay two candidates and the choice.
    """
    task = replace(scene.task, test_windows=0)  # no test loss is looked at
    check_kind(kind, task)
    check_tunings(tuning)
    if member_steps < (least := least_budget(task)):
        raise TunemaxError(f"member-steps = {member_steps:,}: too few to tune anything; give at least {least:,}")
    first = (tuning - 1) * SAMPLE
    train = [find_set("train").draw(task, first + index) for index in range(SAMPLE)]
    validation = looked_at(task, member_steps)
    baseline = KINDS[kind]

    def measure(instances: list[Instance], vector: list[float]) -> Measured:
        outcomes = run(task, instances, baseline.of(task, np.array(vector)))
        return mean_return(outcomes), sum(outcome.member_steps for outcome in outcomes)

    bounds = baseline.bounds(task)
    starts = {bound.name: min(max(bound.start, bound.low), bound.high) for bound in bounds}
    name = _name(kind, tuning)
    before = find_study(storage, scene, name)
    begun = len(before.get_trials(deepcopy=False)) if before else 0
    study = open_study(storage, scene, name, _sampler(scene, name, starts, begun))
    with storage_errors(storage.url):
        with alone(storage):
            if not study.get_trials(deepcopy=False):
                study.enqueue_trial(starts)
        budget = member_steps - FINALISTS * _price(validation)
        _search(storage, study, bounds, budget, partial(measure, train), report)
    look = "" if len(validation) == LEAST_LOOK else f" on {len(validation)}"
    return _choose(study, kind, tuning, bounds, partial(measure, validation), look)


def least_budget(task: Task) -> int:
    """Member-steps that pay two candidates and the choice."""
    tried = _price([find_set("train").draw(task, index) for index in range(SAMPLE)])
    return 2 * tried + FINALISTS * _price(_validation(task, LEAST_LOOK))


def looked_at(task: Task, member_steps: int) -> list[Instance]:
    """The validation instances that finalists are chosen on: all, as agents are, if the budget pays that well."""
    every = _validation(task, find_set("validation").count)
    counts = range(len(every), LEAST_LOOK, -1)
    well = (count for count in counts if CHOICE * FINALISTS * _price(every[:count]) <= member_steps)
    return every[: next(well, LEAST_LOOK)]


def _validation(task: Task, count: int) -> list[Instance]:
    return [find_set("validation").draw(task, index) for index in range(count)]


def _price(instances: Sequence[Instance]) -> int:
    """Member-steps of a candidate on these, at most."""
    return sum(instance.horizon for instance in instances)


def mean_return(outcomes: list[Outcome]) -> float:
    return float(np.mean([outcome.total for outcome in outcomes]))


def chosen(storage: RDBStorage, scene: Scene, kind: str) -> list[Tuned]:
    """What the tunings of a baseline have come to, in their order; those that have not ended are left out."""
    with storage_errors(storage.url):
        begun = set(study_names(storage))
    found = []
    for name in (_name(kind, tuning) for tuning in range(1, MOST_TUNINGS + 1)):
        study = find_study(storage, scene, name) if study_name(scene, name) in begun else None
        if study and (text := study.user_attrs.get(attributes.CHOSEN)):
            found.append(Tuned(**json.loads(text)))
    return found


def check_tunings(count: int) -> None:
    """Refuse more tunings than there are training instances for."""
    if count > MOST_TUNINGS:
        raise TunemaxError(f"--tunings = {count}: there are training instances for {MOST_TUNINGS}")


def _name(kind: str, tuning: int) -> str:
    """The study of a tuning, after the scene's. The first has the name of when there was one."""
    return kind if tuning == 1 else f"{kind}/{tuning}"


def _search(
    storage: RDBStorage,
    study: optuna.Study,
    bounds: Sequence[Bound],
    budget: int,
    measure: Callable[[list[float]], Measured],
    report: Callable[[int, float], None],
) -> None:
    """Try candidates until the budget is spent: first where the baseline starts, then what CMA-ES asks for."""
    while (spent := _spent(study)) < budget:
        revive(storage, study)
        trial = ask(study, mark())
        with kept(storage, trial):
            vector = [trial.suggest_float(each.name, each.low, each.high, log=each.log) for each in bounds]
            value, steps = measure(vector)
            writes = PendingWrites(user={attributes.ITERATIONS: steps})
            if finish(storage, trial, mark(), TrialState.COMPLETE, value, writes):  # it is still ours
                report(spent + steps, study.best_value)


def _choose(
    study: optuna.Study,
    kind: str,
    tuning: int,
    bounds: Sequence[Bound],
    measure: Callable[[list[float]], Measured],
    look: str,
) -> Tuned:
    """The best of the FINALISTS on validation instances; one that was looked at before is not looked at again.

    look: of which instances it is; nothing for the first LEAST_LOOK, as it always was.
    """
    best = sorted(_complete(study), key=lambda trial: -(trial.value or 0.0))[:FINALISTS]
    vectors = {trial.number: [float(trial.params[bound.name]) for bound in bounds] for trial in best}
    looked: dict[str, Measured] = dict(study.user_attrs.get(attributes.VALIDATED, {}))
    for number, vector in vectors.items():
        if f"{number}{look}" not in looked:
            looked[f"{number}{look}"] = measure(vector)
            study.set_user_attr(attributes.VALIDATED, looked)
    winner = max(vectors, key=lambda number: looked[f"{number}{look}"][0])
    price = _spent(study) + sum(cost for _, cost in looked.values())
    choice = Tuned(kind, winner, vectors[winner], looked[f"{winner}{look}"][0], price, tuning)
    study.set_user_attr(attributes.CHOSEN, json.dumps(asdict(choice)))
    return choice


def _sampler(scene: Scene, name: str, starts: dict[str, float], begun: int) -> CmaEsSampler:
    """CMA-ES from where the baseline starts; it needs two dimensions, so a single one is TPE's.

    begun: trials that the study has; the same seed after a restart would repeat the same points.
    """
    seed = key(0, "baseline", scene.name, name, begun) % 2**32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        # x0 goes in Optuna 6; without it the search would begin in the middle of nowhere
        warnings.simplefilter("ignore", FutureWarning)
        fallback = TPESampler(seed=seed)
        return CmaEsSampler(
            x0=starts, seed=seed, n_startup_trials=1, independent_sampler=fallback, warn_independent_sampling=False
        )


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _spent(study: optuna.Study) -> int:
    return sum(int(trial.user_attrs.get(attributes.ITERATIONS, 0)) for trial in _complete(study))
