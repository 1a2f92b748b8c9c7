"""What a contest says: every contender beside the best static setting and the best schedule, with intervals.

Losses are compared in pairs by instance; an algorithm's loss on an instance is the mean over its seeds. What a training
of the controller has cost is said beside it, with the number of runs after which that cost has come back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tunemax.search.question.counting import counted, one_or
from tunemax.search.results.means import MeanComparison, claim, compare_means, separable_note
from tunemax.search.results.statistics import (
    Array,
    Estimate,
    Share,
    improvement,
    interquartile_mean,
    over_grid,
    share,
)
from tunemax.search.rl.contest import Contender, Contest

STATIC = "constant"
"""The best static setting."""
FEW_SEEDS = 3
"""Below so many seeds of an agent, little is said about the next one."""


@dataclass(frozen=True)
class Reach:
    """How soon the final validation loss of the best static setting is reached on the same instance.

    reached: on so many instances, of all seeds. steps: iterations saved, the mean over all; none where it is not
    reached. share: the same as a share of the horizon.
    """

    reached: Share
    steps: float
    share: float


@dataclass(frozen=True)
class Line:
    """One contender. versus_*: None for, or without, the reference itself. by_seed: mean test loss by run."""

    name: str
    role: str
    cost: int
    member_steps: int
    """Of all its runs here: what was trained while it steered."""
    mean: float
    by_seed: Mapping[str, float]
    iqm: Estimate
    diverged: Share
    versus_static: MeanComparison | None
    versus_schedule: MeanComparison | None
    ahead_of_static: Estimate | None
    """The probability of improvement."""
    reach: Reach | None

    @property
    def break_even(self) -> int | None:
        """Runs after which the saved iterations have paid for its training; None if not better than the best static."""
        better = self.versus_static is not None and self.versus_static.verdict == "better"
        if not better or self.reach is None or self.reach.steps <= 0:
            return None
        return math.ceil(self.cost / self.reach.steps)


@dataclass(frozen=True)
class Verdict:
    """The lines of a contest: agents, then baselines by mean loss, then ablations."""

    contest: Contest
    lines: tuple[Line, ...]
    ablations: tuple[MeanComparison, ...]
    """Each ablation beside its own agent."""

    @cached_property
    def where(self) -> str:
        task = self.contest.scene.task
        model, data = task.config.model, task.config.train.dataset.rstrip("/").rpartition("/")[2]
        size = f"{model.n_layer}×{model.n_embd}"
        trained = f"at {task.horizon:,} iterations of a {size} model on {data}"
        return trained if self.contest.set == "test" else f"on the transfer set {self.contest.set}, trained {trained}"

    @property
    def sentences(self) -> tuple[str, ...]:
        """The answer: for each agent, how it compares with the best static setting and the best schedule."""
        sentences: list[str] = []
        for line in self.lines:
            if line.role == "agent":
                sentences += [self._claim(versus) for versus in (line.versus_static, line.versus_schedule) if versus]
                sentences.append(self._price(line))
        return tuple(sentences) or ("Nothing can be said without an agent and a tuned baseline.",)

    def _claim(self, versus: MeanComparison) -> str:
        return f"{claim(versus, 'test loss', self.where)}."

    def _price(self, line: Line) -> str:
        runs, seeds = line.break_even, len(line.by_seed)
        when = f"paid back after {counted(runs, 'run')}" if runs else "never paid back by runs"
        few = f" {counted(seeds, 'seed')} of it {one_or(seeds, 'says', 'say')} little about the next one."
        cost = f"To train one agent of {line.name} has cost {line.cost:,} member-steps"
        return f"{cost}: {when} that stop at the loss of {STATIC}.{few if seeds < FEW_SEEDS else ''}"

    @property
    def compute(self) -> str:
        """Whether the baselines had as much to be tuned with as the agents."""
        dearest = max((line.cost for line in self.lines if line.role == "agent"), default=0)
        poorer = [line.name for line in self.lines if line.name in self.contest.chosen and line.cost < dearest]
        if poorer:
            less = f"{', '.join(poorer)} had less than the {dearest:,} member-steps of an agent"
            return f"Unequal compute: {less}; tune with --member-steps {dearest}."
        return "Equal compute: every tuned baseline has had at least the member-steps of one agent." if dearest else ""

    @property
    def remarks(self) -> tuple[str, ...]:
        """Whether compute was equal, what the observation is worth, and what so few instances could never show."""
        compared = sum(line.versus_static is not None for line in self.lines)
        note = separable_note(len(self.contest.instances), max(1, compared))
        compute = [self.compute] if self.compute and self.contest.chosen else []
        return (*compute, *map(self._claim, self.ablations), *([note] if note else []))

    def to_json(self) -> dict[str, Any]:
        return {
            "environment": self.contest.scene.model_dump(mode="json"),
            "set": self.contest.set,
            "instances": [instance.name for instance in self.contest.instances],
            "reference": STATIC,
            "schedule": self.contest.schedule,
            "lines": [asdict(line) | {"break_even": line.break_even} for line in self.lines],
            "ablations": [asdict(versus) for versus in self.ablations],
            "sentences": list(self.sentences),
            "remarks": list(self.remarks),
        }


def judge(contest: Contest) -> Verdict:
    """Compare the contenders of a contest."""
    main = [each for each in contest.contenders if each.role != "ablation"]
    static, schedule = _versus(main, STATIC), _versus(main, contest.schedule)
    reference = contest.contender(STATIC)
    horizons = [instance.horizon for instance in contest.instances]
    lines = []
    for each in contest.contenders:
        lines.append(_line(each, static.get(each.name), schedule.get(each.name), reference, horizons))
    rank = {"agent": 0, "baseline": 1, "ablation": 2}
    lines.sort(key=lambda line: (rank[line.role], line.mean))
    ablations = [each for each in contest.contenders if each.role == "ablation"]
    worth: list[MeanComparison] = []
    for agent in (each for each in main if each.role == "agent"):
        ablated = [each for each in ablations if each.name.startswith(f"{agent.name} ")]
        worth += _versus([agent, *ablated], agent.name).values()
    return Verdict(contest, tuple(lines), tuple(worth))


def losses(contender: Contender) -> Array:
    """Test losses (seeds, instances), in nats a token; a training that diverged counts as the cap."""
    runs = contender.runs.values()
    grid: Array = np.array([[outcome.test_loss for outcome in outcomes] for outcomes in runs], dtype=float)
    return grid


def _versus(contenders: Sequence[Contender], reference: str | None) -> dict[str, MeanComparison]:
    """Every contender beside one of them, paired by instance; empty if that one is missing."""
    if reference is None or all(each.name != reference for each in contenders):
        return {}
    by_instance = {each.name: dict(enumerate(losses(each).mean(axis=0).tolist())) for each in contenders}
    return {versus.name: versus for versus in compare_means(by_instance, reference)}


def _line(
    each: Contender,
    static: MeanComparison | None,
    schedule: MeanComparison | None,
    reference: Contender | None,
    horizons: Sequence[int],
) -> Line:
    grid = losses(each)
    outcomes = [outcome for run in each.runs.values() for outcome in run]
    other = reference if reference is not None and reference is not each else None
    return Line(
        name=each.name,
        role=each.role,
        cost=each.cost,
        member_steps=sum(outcome.member_steps for outcome in outcomes),
        mean=float(grid.mean()),
        by_seed=dict(zip(each.runs, grid.mean(axis=1).tolist(), strict=True)),
        iqm=over_grid(grid, interquartile_mean),
        diverged=share(sum(outcome.diverged for outcome in outcomes), len(outcomes)),
        versus_static=static,
        versus_schedule=schedule,
        ahead_of_static=improvement(grid, losses(other)[0]) if other else None,
        reach=_reach(each, other, horizons) if other else None,
    )


def _reach(each: Contender, reference: Contender, horizons: Sequence[int]) -> Reach:
    (targets,) = reference.runs.values()
    saved: list[int] = []
    reached = 0
    for outcomes in each.runs.values():
        for own, other, horizon in zip(outcomes, targets, horizons, strict=True):
            at = next((past.iteration for past in own.history if past.loss <= other.loss), None)
            reached += at is not None
            saved.append(0 if at is None else horizon - at)
    shares = [steps / horizon for steps, horizon in zip(saved, list(horizons) * len(each.runs), strict=True)]
    return Reach(share(reached, len(saved)), float(np.mean(saved)), float(np.mean(shares)))
