"""One trial's way through a slot: from a claimed trial to a configuration, reports, and its end."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
import pydantic
from optuna.trial import FrozenTrial, TrialState

from tunemax.gpt.config import Config
from tunemax.gpt.cost import Cost
from tunemax.gpt.data import Corpus
from tunemax.gpt.divergence import divergence_cap
from tunemax.gpt.origin import origin
from tunemax.gpt.probe import Probe, Probes
from tunemax.gpt.random import key
from tunemax.gpt.schedule import decay_start
from tunemax.gpt.snapshot import Snapshot
from tunemax.gpt.trainer import Member, Trainer
from tunemax.search.question.budget import Course
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.suggest import suggest
from tunemax.search.storage import attributes
from tunemax.search.storage.origins import Origin, continued, parts_of
from tunemax.search.storage.trials import frozen, set_system_attr
from tunemax.search.workers.branches import Branches
from tunemax.search.workers.solo import step_seconds

CHUNK = 10
"""Iterations between two looks at the stop signal."""


def configuration(trial: optuna.Trial, definition: StudyDefinition, fixed: Mapping[str, Any], corpus: Corpus) -> Config:
    """What a trial is to train: base, what its sibling fixes, what the sampler suggests, and as many iterations as its
    budget pays. Recorded on the trial. Raises TunemaxError for an impossible one, or a budget below one iteration."""
    config = Config.of(suggest(trial, definition, fixed))
    if apart := definition.apart(trial.study.study_name):
        config = config.replace({"seed": config.train.seed + apart})
    if "max_iters" not in fixed:
        config = config.replace({"max_iters": _iterations(trial, config, definition, corpus)})
    set_system_attr(trial, attributes.CONFIG, json.dumps(config.flat()))
    before = parts_of(frozen(trial))
    set_system_attr(trial, attributes.ORIGIN, continued(before, origin(config), frozen(trial).last_step or 0))
    trial.set_user_attr(attributes.IDENTITY, config.identity)
    trial.set_user_attr(attributes.PARAMETERS, Cost.of(config, corpus.manifest.vocab_size).parameters)
    return config


def _iterations(trial: optuna.Trial, config: Config, definition: StudyDefinition, corpus: Corpus) -> int:
    """How many iterations are a trial's budget."""
    budget = definition.budget
    if budget.seconds is None:
        return budget.iterations(config, corpus.manifest.vocab_size)
    seconds = step_seconds(trial, config, definition, corpus)
    trial.set_user_attr(attributes.STEP_SECONDS, seconds)
    return budget.spread(seconds)


def trained_before(study: optuna.Study, config: Config) -> FrozenTrial | None:
    """The first finished trial of the study that trained the same thing (a duplicate is never the first)."""
    for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        attrs = other.user_attrs
        if attrs.get(attributes.IDENTITY) == config.identity and attributes.DUPLICATE_OF not in attrs:
            return other
    return None


def mark_duplicate(trial: optuna.Trial, original: FrozenTrial) -> None:
    """Give a trial the reports of the one that it repeats, and the mark; it cost nothing."""
    for step, value in sorted(original.intermediate_values.items()):
        _report(trial, value, step)
    trial.set_user_attr(attributes.DUPLICATE_OF, original.number)
    for cost in (attributes.ITERATIONS, attributes.TOKENS, attributes.FLOPS):
        trial.set_user_attr(cost, 0)
    if attributes.DIVERGED in original.user_attrs:
        trial.set_user_attr(attributes.DIVERGED, original.user_attrs[attributes.DIVERGED])


class Record(pydantic.BaseModel):
    """What a trial has told the storage by the time of a snapshot, which has it beside it.

    reports: by Optuna's step. spared: the step at which the pruner would have stopped it. origin: of each part of its
    training; empty in those from before that was kept.
    """

    reports: dict[int, float] = {}
    spared: int | None = None
    origin: list[dict[str, Any]] = []


def looks_before(definition: StudyDefinition, config: Config, iteration: int) -> set[int]:
    """The steps at which a trial has been looked at before it comes to an iteration."""
    course = definition.budget.course(config)
    rungs = set(map(course.iteration, definition.pruner.cooled_rungs(course.steps)))
    looks = {course.iteration(step): step for step in course.looks}
    return {step for at, step in looks.items() if at < iteration and at not in rungs}


def rungs_before(definition: StudyDefinition, config: Config, iteration: int) -> set[int]:
    """The steps of the cooled rungs whose branches have left before a snapshot of this iteration: they have ended, too,
    or the snapshot would be an older one."""
    course = definition.budget.course(config)
    steps = definition.pruner.cooled_rungs(course.steps)
    return {step for step in steps if decay_start(config.train, course.iteration(step)) < iteration}


@dataclass
class Job:
    """A trial in a slot: its member in a trainer, and its last report."""

    trial: optuna.Trial
    trainer: Trainer
    member: Member
    definition: StudyDefinition
    value: float = math.nan
    reason: str | None = None
    """Why it has diverged, if it has."""
    evaluated: int = 0
    """Iteration of the last evaluation."""
    reports: dict[int, float] = field(default_factory=dict)
    """By step, those at which it was judged, too."""
    alone: bool = False
    """Nothing else is to be trained in this worker meanwhile."""
    origin: Sequence[Origin] = ()
    """Of each part of its training."""
    misplaced: bool = False
    """Whether the storage has this otherwise: where it would go on was not known yet."""
    saved: float = field(default_factory=time.monotonic)
    """When its snapshot was written, or the trial taken."""
    probes: Probes = field(default_factory=Probes)
    """What is known of the members of its worker."""
    course: Course = field(init=False)
    """Where it is evaluated."""
    branches: Branches = field(init=False)
    """Those by which the trial is judged at cooled rungs."""

    def __post_init__(self) -> None:
        self.course = self.definition.budget.course(self.member.config)
        steps = self.definition.pruner.cooled_rungs(self.course.steps)
        self._rungs = {self.course.iteration(step): step for step in steps}
        self.branches = Branches(self.trainer, self.member, list(self._rungs))

    @property
    def study(self) -> str:
        return self.trial.study.study_name

    @property
    def number(self) -> int:
        return self.trial.number

    @property
    def measured(self) -> Probe:
        """What attention really does in the member as it is now."""
        return self.probes.of(self.trainer, self.member)

    @property
    def at_stop(self) -> bool:
        """Whether the member is at a point where it is evaluated."""
        return self._step is not None

    @property
    def step(self) -> int:
        """Optuna's step of a report at this point."""
        assert self._step is not None
        return self._step

    @property
    def _step(self) -> int | None:
        here = self.member.iteration
        return self._rungs[here] if here in self.branches.rungs else self.course.step(here)

    @property
    def due(self) -> int:
        """Iterations to the next report, or to where a branch begins; 0 where a report is to be made."""
        done = self.member.iteration
        if self.at_stop and done != self.evaluated:
            return 0
        return min([self.course.next(done), *(stop for stop in self.branches.stops if stop > done)]) - done

    @property
    def stride(self) -> int:
        """Iterations to the next look at the stop signal, counted from an evaluation, whether interrupted or not."""
        done = self.member.iteration
        return min(CHUNK - (done - self.course.last(done)) % CHUNK, self.due)

    def take(self, loss: float) -> None:
        """Take the loss at an evaluation point: `value` is what the trial is to report, the cap if it has diverged or
        the loss is above it.

        At a cooled rung it is the loss of a branch, which the trial survives once, as it survives any look above the
        cap: only where nothing of the branch is finite it has diverged with it.
        """
        cap = divergence_cap(self.member.config, self.trainer.corpus)
        self.member.look(loss, cap)
        event = self.member.event or self.branches.judged().event
        self.reason = event.reason if event else None
        self.value = loss if event is None and loss <= cap else cap
        self.evaluated = self.member.iteration

    def go_on(self) -> None:
        """Train on where it has reported and was judged. A snapshot from before that is evaluated again."""
        self.reports[self.step] = self.value
        self.branches.end()

    def snapshot(self) -> Snapshot:
        """What the trial goes on from if it is interrupted now, at any moment between two updates."""
        spared = frozen(self.trial).user_attrs.get(attributes.SPARED)
        record = Record(reports=self.reports, spared=spared, origin=[dict(part) for part in self.origin])
        return replace(self.branches.snapshot(), notes=record.model_dump(mode="json"))

    def spare(self, step: int) -> None:
        """Note that the pruner would have stopped the trial at this step."""
        set_system_attr(self.trial, attributes.SPARED_SHARE, self.definition.pruner.spared)
        self.trial.set_user_attr(attributes.SPARED, step)

    def end(self) -> str | None:
        """How the trial ends where it has just reported (complete, pruned, diverged), or None.

        One that is spared is noted as such where the pruner would stop it, and the pruner is not asked again.
        """
        if self.reason is not None:
            return "diverged"
        step, pruner = self.step, self.definition.pruner
        if step >= self.course.steps:
            return "complete"
        unjudged = pruner.cooled and self.member.iteration not in self.branches.rungs
        asked = pruner.asked_at(step, self.course.steps)
        if not asked or unjudged or attributes.SPARED in frozen(self.trial).user_attrs:
            return None
        frozen(self.trial).intermediate_values[step] = self.value  # the pruner looks there
        if not self.trial.should_prune():
            return None
        if not spares(self.definition, self.study, self.number):
            return "pruned"
        self.spare(step)
        return None

    def findings(self, end: str) -> dict[str, Any]:
        """What the training cost and found, as user attributes."""
        member = self.member
        trained = member.iteration + self.branches.steps
        cost = Cost.of(member.config, self.trainer.corpus.manifest.vocab_size)
        findings: dict[str, Any] = {
            attributes.ITERATIONS: trained,
            attributes.TOKENS: trained * cost.tokens,
            attributes.FLOPS: trained * cost.flops,
            attributes.RATE: member.learning_rate,
            attributes.GUARDED: float(self.measured.guarded.max()),
            attributes.PATH: self.trainer.arithmetic_of(member),
        }
        if math.isfinite(member.train_loss):
            findings[attributes.TRAIN_LOSS] = member.train_loss
        for name, values in self.trainer.learnables(member).items():
            if values.isfinite().all():
                findings[attributes.LEARNED + name] = float(values.mean())
        if spikes := member.stability.spikes:
            findings[attributes.SPIKES] = spikes
            findings[attributes.HIGHEST_SPIKE] = member.stability.highest_spike
            findings[attributes.FIRST_SPIKE] = member.stability.first_spike
        if end == "diverged":
            findings[attributes.DIVERGED] = self.reason
        return findings

    def leave(self) -> None:
        """Make room in the trainer."""
        self.branches.leave()
        self.trainer.remove(self.member)


def evaluated(trainer: Trainer, jobs: Sequence[Job]) -> list[float]:
    """The losses that jobs of a trainer are to take where they are: a branch is looked at, a trial's end is evaluated
    in full."""
    judged = [job.branches.judged() for job in jobs]
    branches = {member for job, member in zip(jobs, judged, strict=True) if member is not job.member}
    losses = trainer.evaluate(members=[member for member in judged if member not in branches])
    losses |= trainer.look([member for member in judged if member in branches])
    return [losses[member] for member in judged]


def leads(job: Job) -> bool:
    """Whether a trial that is about to complete will be the best of its study."""
    others = filter(attributes.ranks, job.trial.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    return all((job.value, job.number) < (other.values[0], other.number) for other in others)


def spares(definition: StudyDefinition, study_name: str, number: int) -> bool:
    """Whether a trial trains on when the pruner would stop it: drawn by its number, the same after an interrupt."""
    return key(definition.seed, "spared", study_name, number) < definition.pruner.spared * 2**63


def _report(trial: optuna.Trial, value: float, step: int) -> None:
    """Report, silently if the trial was interrupted after it had reported this very step: it reports the same again."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*already reported", category=UserWarning)
        trial.report(value, step)


def train_alone(trial: optuna.Trial, definition: StudyDefinition, fixed: Mapping[str, Any], corpus: Corpus) -> float:
    """Train one trial by itself, for plain ``study.optimize``. Raises optuna.TrialPruned when the pruner says so."""
    config = configuration(trial, definition, fixed, corpus)
    if original := trained_before(trial.study, config):
        mark_duplicate(trial, original)
        if original.state == TrialState.PRUNED:
            raise optuna.TrialPruned
        assert original.value is not None
        return original.value
    trainer = Trainer(config, corpus)
    job = Job(trial, trainer, trainer.add(config), definition)
    end = None
    while end is None:
        job.branches.begin()
        trainer.step(job.due)
        if job.due:  # a branch begins
            continue
        job.take(evaluated(trainer, [job])[0])
        _report(trial, job.value, job.step)
        end = job.end()
        if end is None:
            job.go_on()
    for name, finding in job.findings(end).items():
        trial.set_user_attr(name, finding)
    if end == "pruned":
        raise optuna.TrialPruned
    return job.value
