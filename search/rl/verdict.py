"""What a contest says: two primary contrasts of each agent with their verdicts, and everything else described.

The primary contrasts are with the best static setting and with the best schedule. Agent seeds, tunings of baselines and
instances are all random, see `tunemax.search.results.crossed`. What a training of the controller has cost is said
beside it, with the number of runs after which that cost has come back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tunemax.envs.variation import HORIZON
from tunemax.search.question.counting import counted
from tunemax.search.results.contrasts import LEAST_INSTANCES, Contrast, judged, least_runs
from tunemax.search.results.crossed import crossed, interquartile
from tunemax.search.results.statistics import ALPHA, Array, Share, percent_digits, share, signed
from tunemax.search.rl.baselines import TUNINGS
from tunemax.search.rl.contest import Contender, Contest
from tunemax.search.rl.flags import scene_words
from tunemax.search.rl.versus import Rates, Reach, Versus, ahead, log_losses, reach, versus, versus_itself
from tunemax.search.storage.commands import typed

STATIC = "constant"
"""The best static setting."""
UNSTEERED = "static"
"""Controls that stay where an instance starts them."""
MARGIN = 0.01
"""Two contenders are equal if they are shown to differ by less than this share of the loss: a third of the least
headroom of an environment that is worth steering."""

NOT_LEARNED = "did not learn"


@dataclass(frozen=True)
class Line:
    """One contender, described. versus_*: None for, or without, the reference itself.

    loss: the typical test loss, an interquartile mean over instances, with its 95 % interval over runs and instances;
    by_run: of each run. spread: the standard deviation of runs, as a share of the loss; None for a single one.
    """

    name: str
    role: str
    cost: int
    member_steps: int
    """Of all its runs here: what was trained while it steered."""
    loss: tuple[float, float, float]
    by_run: Mapping[str, float]
    spread: float | None
    diverged: Share
    versus_static: Versus | None
    versus_schedule: Versus | None
    ahead_of_static: tuple[float, float, float] | None
    """The probability of improvement, with its interval."""
    reach: Reach | None
    learned: Mapping[str, bool]
    """Whether runs of an agent do better than nothing where they were trained, as far as that was checked."""

    @property
    def has_learned(self) -> bool:
        """Not if most of an agent's runs have not: what is measured of it elsewhere would be chance."""
        return 2 * sum(self.learned.values()) >= len(self.learned)


@dataclass(frozen=True)
class Primary:
    """A primary contrast: of an agent with the best static setting, or with the best schedule."""

    versus: Versus
    contrast: Contrast
    learned: bool

    @property
    def name(self) -> str:
        return self.versus.name

    @property
    def reference(self) -> str:
        return self.versus.reference

    @property
    def relative(self) -> tuple[float, float, float]:
        """The difference, and its interval at the level of its test, as shares of the loss."""
        return self.contrast.relative

    @property
    def p(self) -> float | None:
        return self.contrast.p if self.learned and self.contrast.verdict != "no verdict" else None

    @property
    def verdict(self) -> str:
        """In a word, with what must not be left out of it."""
        if not self.learned:
            return NOT_LEARNED
        rider = ", diverges more" if self.versus.diverged.more else ""
        return self.contrast.verdict + rider

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "reference": self.reference,
            "verdict": self.contrast.verdict if self.learned else NOT_LEARNED,
            "diverges_more": self.versus.diverged.more,
            "relative": list(self.relative),
            "confidence": 1 - self.contrast.alpha,
            "p": self.p,
            "runs": list(self.versus.runs),
            "instances": self.versus.instances,
            "margin": self.contrast.margin,
            "detectable": self.contrast.detectable,
            "runs_needed": self.contrast.needed,
            "least_runs": self.contrast.least,
            "diverged": asdict(self.versus.diverged),
        }


@dataclass(frozen=True)
class Verdict:
    """The primary contrasts of a contest, then its lines: agents, baselines by loss, ablations."""

    contest: Contest
    margin: float
    primaries: tuple[Primary, ...]
    lines: tuple[Line, ...]
    ablations: tuple[Versus, ...]
    """Each ablation beside its own agent."""

    @cached_property
    def where(self) -> str:
        task = self.contest.scene.task
        data = " and ".join(str(each).rstrip("/").rpartition("/")[2] for each in task.drawn("dataset"))
        horizon, *sizes = (
            "–".join(f"{value:,}" for value in dict.fromkeys((min(each), max(each))))
            for each in (task.horizons, task.drawn("n_layer"), task.drawn("n_embd"))
        )
        said = {HORIZON, "n_layer", "n_embd", "n_head", "dataset"}
        others = ", ".join(name for name in task.varied if name not in said)
        varied = f" (with any {others})" if others else ""
        disturbed = f", disturbed by its {' and '.join(task.events)}" if task.events else ""
        trained = f"at {horizon} iterations of a {'×'.join(sizes)} model{varied} on {data}{disturbed}"
        return trained if self.contest.set == "test" else f"on the transfer set {self.contest.set}, trained {trained}"

    @property
    def sentences(self) -> tuple[str, ...]:
        """The answer: for each agent, how it compares with the best static setting and the best schedule."""
        sentences: list[str] = []
        for line in self.lines:
            if line.role == "agent":
                sentences += self._claims(line)
                sentences.append(self._price(line))
        return tuple(sentences) or ("Nothing can be said without an agent and a tuned baseline.",)

    def _claims(self, line: Line) -> list[str]:
        checked, learned = len(line.learned), sum(line.learned.values())
        which = f"{checked - learned} of {counted(checked, 'seed')}"
        if not line.has_learned:
            why = f"{which} are no better than {UNSTEERED} on the instances that they were trained on"
            return [f"{line.name} {NOT_LEARNED}: {why}, so what is measured elsewhere is no verdict on steering."]
        claims = [self._claim(each) for each in self.primaries if each.name == line.name]
        if not claims:
            return [f"Nothing can be claimed of {line.name} without a tuned baseline."]
        rider = [f"{which} of {line.name} {NOT_LEARNED}, and are in these figures."] if learned < checked else []
        return claims + rider

    def _claim(self, primary: Primary) -> str:
        name, other, contrast = primary.name, primary.reference, primary.contrast
        extent = _extent(primary.relative, contrast.alpha, signs=contrast.verdict in ("equal", "cannot say yet"))
        of = self._counted(primary.versus)
        rates = _diverging(primary.versus.diverged)
        within = f"{100 * contrast.margin:g} %"
        match contrast.verdict:
            case "better" | "worse":
                told = f"{name} is {extent[0]} {contrast.verdict} than {other} in test loss"
                return f"{told} ({extent[1]}; {of}; p {contrast.p:.2g}), {self.where}{rates}."
            case "equal":
                told = f"{name} equals {other} within {within} in test loss: {extent[0]} ({extent[1]}; {of})"
                return f"{told}, {self.where}{rates}."
            case "cannot say yet":
                told = f"{name} and {other}: cannot say yet. The difference in test loss is {extent[0]}"
                return f"{told} ({extent[1]}; {of}), {self.where}{rates}. {self._outlook(contrast)}"
            case _:
                return f"{name} and {other}: no verdict. {self._lacking(primary)}{rates}."

    def _counted(self, versus: Versus) -> str:
        instances = counted(len(self.contest.instances), "instance")
        return f"{counted(versus.runs[0], 'seed')} × {counted(versus.runs[1], 'tuning')} × {instances}"

    def _outlook(self, contrast: Contrast) -> str:
        found = f"A difference of {100 * contrast.detectable:.2g} % would be found 4 times in 5"
        if contrast.needed is None:
            return f"{found}; for a verdict either way there are too few instances."
        return f"{found}; {contrast.needed} seeds and as many tunings would give a verdict either way."

    def _lacking(self, primary: Primary) -> str:
        own, other = primary.versus.runs
        least, instances = primary.contrast.least, primary.versus.instances
        if min(own, other) < least:
            have = f"{counted(own, 'seed')} and {counted(other, 'tuning')}"
            return f"{have} are too few; it takes at least {least} of each"
        met = counted(len(self.contest.instances), "instance")
        if len(self.contest.instances) < LEAST_INSTANCES:
            return f"{met} are too few; it takes at least {LEAST_INSTANCES}"
        return f"On {instances} of {met} only did neither diverge; it takes at least {LEAST_INSTANCES}"

    def _price(self, line: Line) -> str:
        runs = self.break_even(line)
        when = f"paid back after {counted(runs, 'run')}" if runs else "never paid back by runs"
        cost = f"To train one agent of {line.name} has cost {line.cost:,} member-steps"
        return f"{cost}: {when} that stop at the loss of {STATIC}."

    def break_even(self, line: Line) -> int | None:
        """Runs after which the saved iterations have paid for its training; None if not better than the best static."""
        better = line.has_learned and any(
            each.name == line.name and each.reference == STATIC and each.contrast.verdict == "better"
            for each in self.primaries
        )
        if not better or line.reach is None or line.reach.steps <= 0:
            return None
        return math.ceil(line.cost / line.reach.steps)

    @property
    def compute(self) -> str:
        """Whether the baselines had as much to be tuned with as the agents."""
        dearest = max((line.cost for line in self.lines if line.role == "agent"), default=0)
        tuned = {each.kind for each in self.contest.tuned}
        poorer = [line.name for line in self.lines if line.name in tuned and line.cost < dearest]
        if poorer:
            less = f"{', '.join(poorer)} had less than the {dearest:,} member-steps of an agent"
            return f"Unequal compute: {less}; tune with --member-steps {dearest}."
        return "Equal compute: every tuned baseline has had at least the member-steps of one agent." if dearest else ""

    @property
    def missing(self) -> tuple[str, ...]:
        """What a verdict lacks, with the command that adds it."""
        agents = [line for line in self.lines if line.role == "agent"]
        least = least_runs(2 * len(agents))
        seeds = {line.name: len(line.by_run) for line in agents if len(line.by_run) < least}
        told = [
            f"{name} has {counted(count, 'seed')}, and a verdict needs {least}: train it with others, --seed N."
            for name, count in seeds.items()
        ]
        tunings = {kind: sum(each.kind == kind for each in self.contest.tuned) for kind in self._references}
        poor = {kind: count for kind, count in tunings.items() if count < least}
        if agents and poor:
            have = ", ".join(f"{kind} has {counted(count, 'tuning')}" for kind, count in poor.items())
            tune = ("--policy", ",".join(poor), "--tunings", str(max(TUNINGS, least)))
            add = typed(self.contest.storage, "rl", "tune", *scene_words(self.contest.scene), *tune)
            told.append(f"{have}, and a verdict needs {least}: add more with {add}")
        return tuple(told)

    @property
    def _references(self) -> tuple[str, str]:
        """The best static setting and the best schedule; what would be the latter where none is tuned."""
        return STATIC, self.contest.schedule or "spline"

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a verdict lacks, whether compute was equal, and what the observation is worth."""
        compute = [self.compute] if self.compute and self.contest.tuned else []
        return (*self.missing, *compute, *(_described(each) for each in self.ablations))

    def to_json(self) -> dict[str, Any]:
        return {
            "environment": self.contest.scene.model_dump(mode="json"),
            "set": self.contest.set,
            "instances": [instance.name for instance in self.contest.instances],
            "reference": STATIC,
            "schedule": self.contest.schedule,
            "margin": self.margin,
            "primary": [each.to_json() for each in self.primaries],
            "lines": [self._line_json(line) for line in self.lines],
            "ablations": [_versus_json(each) for each in self.ablations],
            "sentences": list(self.sentences),
            "remarks": list(self.remarks),
        }

    def _line_json(self, line: Line) -> dict[str, Any]:
        beside = {name: _versus_json(getattr(line, name)) for name in ("versus_static", "versus_schedule")}
        return asdict(line) | beside | {"break_even": self.break_even(line)}


def judge(contest: Contest, margin: float = MARGIN) -> Verdict:
    """Compare the contenders of a contest. margin: what differs by less than this share of the loss is equal."""
    rank = {"agent": 0, "baseline": 1, "ablation": 2}
    lines = [_line(each, contest) for each in contest.contenders]
    lines.sort(key=lambda line: (rank[line.role], not math.isfinite(line.loss[0]), line.loss[0]))
    beside = [
        each for line in lines if line.role == "agent" for each in (line.versus_static, line.versus_schedule) if each
    ]
    found = judged({f"{each.name} {each.reference}": (each.difference, each.instances) for each in beside}, margin)
    learned = {line.name: line.has_learned for line in lines}
    primaries = [Primary(each, found[f"{each.name} {each.reference}"], learned[each.name]) for each in beside]
    worth = [
        versus_itself(each, agent)
        for agent in contest.contenders
        if agent.role == "agent"
        for each in contest.contenders
        if each.role == "ablation" and each.name.startswith(f"{agent.name} ")
    ]
    return Verdict(contest, margin, tuple(primaries), tuple(lines), tuple(worth))


def _line(each: Contender, contest: Contest) -> Line:
    losses = log_losses(each)
    typical = crossed(losses[:, None])
    ends = (typical.value, *typical.interval()) if typical else (math.nan, math.nan, math.nan)
    by_run = [_typical(row) for row in losses]
    main = each.role != "ablation"
    static, schedule = (
        other if main and (other := contest.contender(name or "")) is not each else None
        for name in (STATIC, contest.schedule)
    )
    outcomes = [outcome for run in each.runs.values() for outcome in run]
    level, low, high = (math.exp(end) for end in ends)
    return Line(
        name=each.name,
        role=each.role,
        cost=each.cost,
        member_steps=sum(outcome.member_steps for outcome in outcomes),
        loss=(level, low, high),
        by_run={label: math.exp(value) for label, value in zip(each.runs, by_run, strict=True)},
        spread=float(np.std(by_run, ddof=1)) if len(by_run) > 1 else None,
        diverged=share(sum(outcome.diverged for outcome in outcomes), len(outcomes)),
        versus_static=versus(each, static) if static else None,
        versus_schedule=versus(each, schedule) if schedule else None,
        ahead_of_static=ahead(each, static) if static else None,
        reach=reach(each, static, [instance.horizon for instance in contest.instances]) if static else None,
        learned=each.learned,
    )


def _extent(relative: tuple[float, float, float], alpha: float, *, signs: bool) -> tuple[str, str]:
    """A difference in percent, and its interval; without signs where a word says which way."""
    digits = percent_digits(*relative[1:])
    value, low, high = (100 * part for part in relative)
    if not signs and value < 0:
        value, low, high = -value, -high, -low
    level = f"{100 * (1 - alpha):.4g} % interval {low:z.{digits}f} … {high:z.{digits}f} %"
    return f"{signed(value, digits) if signs else f'{value:z.{digits}f}'} %", level


def _diverging(rates: Rates) -> str:
    """The end of a sentence about losses: how often trainings diverge, wherever any has."""
    if not rates.any:
        return ""
    if rates.own == rates.other:
        return f"; both diverge in {100 * rates.own:.2g} % of their trainings"
    low, high = (signed(100 * end, 1) for end in rates.difference[1:])
    how = "but it diverges more" if rates.more else "and it diverges less"
    shares = f"in {100 * rates.own:.2g} % of its trainings, the other in {100 * rates.other:.2g} %"
    return f", {how} often: {shares} (95 % interval of the difference {low} … {high} points)"


def _described(versus: Versus) -> str:
    """A difference as it is, without a verdict."""
    value, interval = _extent(versus.relative, ALPHA, signs=True)
    return f"{versus.name} to {versus.reference}: {value} in test loss ({interval}){_diverging(versus.diverged)}."


def _typical(losses: Array) -> float:
    """Of the log losses of one run."""
    return float(interquartile(losses)[0])


def _versus_json(versus: Versus | None) -> dict[str, Any] | None:
    return asdict(versus) | {"relative": list(versus.relative)} if versus else None
