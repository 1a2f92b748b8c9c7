"""What there is to be won by choosing: chosen on validation instances, judged on test instances.

All ways to choose begin where the best single setting is, not where instances start wrong, so that what a contender
loses on its way from there is its own. Choices look at validation losses alone, gains at test losses.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from statistics import fmean

import numpy as np
import numpy.typing as npt

from tunemax.envs.agents.scene import Scene
from tunemax.envs.instances import Instance, find_set
from tunemax.envs.policies import Constant, Policy, Spline
from tunemax.envs.rollouts import Outcome, lookahead, run
from tunemax.envs.task import Task
from tunemax.envs.variation import HORIZON
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import shown
from tunemax.gpt.random import key
from tunemax.search.rl.gains import REFERENCE, Headroom, Way, shares
from tunemax.search.rl.journal import Journal, Kept

SETTINGS = 16
"""Settings, and as many schedules, unless a budget says otherwise."""
LEAST_SETTINGS = 4
LEAST_INSTANCES = 8
DEPTHS = (1, 2, 4)
"""Steps of the looks ahead."""
BREADTH = 4
"""Ways that each look tries."""
NEAR = 0.35
"""How far a quarter of the settings is from the best at most, in places between a dial's bounds; the last one half."""
WANDER = 0.6
"""How far the ends of a schedule are from the best setting, in a dial's own coordinate: a standard deviation."""
TOGETHER = 32
"""Instances of a batch that is kept as a whole."""
BOTH = ", "
"""Between the names of fields by which a way chooses together."""

Places = tuple[float, ...]
"""Of dials between their bounds, in [-1, 1]; of a schedule its knots, dial by dial."""
Tried = Mapping[Places, Sequence[Kept]]
"""Settings, or schedules, with what has become of the same instances under each."""
Train = Callable[[Sequence[Instance]], Sequence[Outcome]]
Report = Callable[[str, int, bool], None]
"""What was trained, its member-steps, and whether they were kept from before."""


@dataclass(frozen=True)
class Plan:
    """What is measured. instances: of test; half as many of validation. settings: tried there, and as many schedules.

    Raises TunemaxError for what cannot be measured.
    """

    scene: Scene
    instances: int
    settings: int = SETTINGS
    seed: int = 1

    def __post_init__(self) -> None:
        most = find_set("test").count
        if not LEAST_INSTANCES <= self.instances <= most:
            raise TunemaxError(f"--instances = {self.instances}: expected {LEAST_INSTANCES} to {most}, as set test has")
        if not self.task.test_windows:
            raise TunemaxError(f"{self.scene.id}: test_windows = 0, so nothing can be judged; leave it at its default")
        assert self.test  # drawn, so that a wrong task is refused before anything is trained

    @classmethod
    def within(cls, scene: Scene, instances: int, member_steps: int | None, seed: int) -> Plan:
        """The plan that tries as many settings as a budget pays; None for as many as usual."""
        plan = cls(scene, instances, seed=seed)
        if member_steps is None:
            return plan
        each = replace(plan, settings=2 * SETTINGS).member_steps - plan.member_steps
        settings = SETTINGS + SETTINGS * (member_steps - plan.member_steps) // each
        if settings < LEAST_SETTINGS:
            least = replace(plan, settings=LEAST_SETTINGS).member_steps
            raise TunemaxError(
                f"member-steps = {member_steps:,}: too few for {instances} instances; give at least {least:,}, "
                "or fewer instances"
            )
        return replace(plan, settings=settings)

    @property
    def task(self) -> Task:
        return self.scene.moves.task

    @cached_property
    def test(self) -> list[Instance]:
        return [find_set("test").draw(self.task, index) for index in range(self.instances)]

    @cached_property
    def validation(self) -> list[Instance]:
        among = find_set("validation")
        count = min(max(LEAST_INSTANCES, self.instances // 2), among.count)
        return [among.draw(self.task, index) for index in range(count)]

    @property
    def member_steps(self) -> int:
        """What it costs at most; what diverges costs less."""
        validation, test = (sum(each.horizon for each in of) for of in (self.validation, self.test))
        settings = self.settings * validation + self.settings // 2 * test
        schedules = self.settings * validation + test
        return settings + schedules + len(DEPTHS) * BREADTH * (validation + test)


def measure(plan: Plan, journal: Journal, report: Report) -> Headroom:
    """Measure it; batches that the journal has are not trained again. report: told each batch of trainings."""
    bench = _Bench(plan, journal, report)
    tried = bench.settings()
    single = _best(tried)
    judged = {setting: bench.constant(setting, plan.test) for setting in _liked(tried, plan.settings // 2)}
    known = {setting: tried[setting] for setting in judged}
    found = {REFERENCE: (tried[single], judged[single])}
    classes = _classes(plan.task, plan.validation)
    for name, labels in classes.items():
        best = {label: _best(_of_class(known, labels, label)) for label in labels}
        others = [best.get(label, single) for label in _classes(plan.task, plan.test)[name]]
        found[f"by {name}"] = _chosen(known, [best[label] for label in labels]), _chosen(judged, others)
    found["by training"] = _own(known), _own(judged)
    schedules = bench.schedules(single, tried[single])
    schedule = _best(schedules)
    found["schedule"] = schedules[schedule], bench.schedule(schedule, plan.test)
    for depth in DEPTHS:
        found[f"look-ahead {depth}"] = (
            bench.ahead(depth, single, plan.validation),
            bench.ahead(depth, single, plan.test),
        )
    more = {"schedule": _steps(schedules) - _steps({single: tried[single]})}
    choosing = {name: _steps(tried) + more.get(name, 0) for name in found}
    return Headroom(
        scene=plan.scene.moves,
        seed=plan.seed,
        settings=plan.settings,
        validation=len(plan.validation),
        setting={dial.name: dial.at(place) for dial, place in zip(plan.task.dials, single, strict=True)},
        instances=tuple(each.name for each in plan.test),
        ways=tuple(_way(name, *runs, tried[single], choosing[name]) for name, runs in found.items()),
        fields=tuple(f"by {name}" for name in classes if BOTH not in name),
    )


class _Bench:
    """The trainings of a plan, each batch kept as it ends."""

    def __init__(self, plan: Plan, journal: Journal, report: Report) -> None:
        self.plan, self.task = plan, plan.task
        self._journal, self._report = journal, report

    def settings(self) -> Tried:
        """Settings on validation instances: half of them evenly between the bounds, the rest near the best."""
        own = np.array([bound.start for bound in Constant.bounds(self.task)])
        half, dials = self.plan.settings // 2, len(own)
        tried: dict[Places, Sequence[Kept]] = {}
        for point in (own, *(2 * _even(half - 1, dials) - 1)):
            tried[_places(point)] = self.constant(_places(point), self.plan.validation)
        rest = self.plan.settings - half
        for count, reach in ((rest - rest // 2, NEAR), (rest // 2, NEAR / 2)):
            for point in np.array(_best(tried)) + reach * (2 * _even(count, dials) - 1):
                tried[_places(point)] = self.constant(_places(point), self.plan.validation)
        return tried

    def schedules(self, single: Places, runs: Sequence[Kept]) -> Tried:
        """Schedules on validation instances: half of them around the best setting, which has had these runs, the rest
        around the best of those. Most of how they differ is a slope."""
        draw = np.random.default_rng(key(self.plan.seed, "headroom", "schedules"))
        tried: dict[Places, Sequence[Kept]] = {_places(np.repeat(single, Spline.KNOTS)): runs}
        half, slope = self.plan.settings // 2, np.linspace(-1, 1, Spline.KNOTS)
        for count, spread in ((half, WANDER), (self.plan.settings - half, WANDER / 2)):
            centre = np.array(_best(tried))
            for _ in range(count):
                tilt, bends = (draw.standard_normal((len(single), n)) for n in (1, Spline.KNOTS))
                knots = self._shifted(centre, spread * (tilt * slope + bends / 2).ravel())
                tried[knots] = self.schedule(knots, self.plan.validation)
        return tried

    def constant(self, setting: Places, instances: Sequence[Instance]) -> Sequence[Kept]:
        policy = Constant.of(self.task, setting)
        return self._trained("setting", setting, setting, instances, partial(_run, self.task, policy))

    def schedule(self, knots: Places, instances: Sequence[Instance]) -> Sequence[Kept]:
        policy, first = Spline.of(self.task, knots), knots[:: Spline.KNOTS]
        return self._trained("schedule", knots, first, instances, partial(_run, self.task, policy))

    def ahead(self, depth: int, setting: Places, instances: Sequence[Instance]) -> Sequence[Kept]:
        def train(begun: Sequence[Instance]) -> Sequence[Outcome]:
            return lookahead(self.task, begun, depth, BREADTH, self.plan.seed, slots=BREADTH * TOGETHER)

        return self._trained(f"look-ahead {depth}", (BREADTH, self.plan.seed), setting, instances, train)

    def _trained(
        self, what: str, how: Sequence[float], first: Places, instances: Sequence[Instance], train: Train
    ) -> Sequence[Kept]:
        """Trainings that begin at a setting. what, how: all else that decides how they go on."""
        begun = [_begun_at(self.task, instance, first) for instance in instances]
        kept: list[Kept] = []
        for batch in (begun[place : place + TOGETHER] for place in range(0, len(begun), TOGETHER)):
            batch_key = self._journal.key([what, *how], batch)
            before = batch_key in self._journal
            kept += self._journal.trained(batch_key, partial(train, batch))
            self._report(what, _steps({(): kept[-len(batch) :]}), before)
        return kept

    def _shifted(self, knots: npt.NDArray[np.float64], distances: npt.NDArray[np.float64]) -> Places:
        """Places of a schedule, each some way further in its dial's own coordinate."""
        dials = [dial for dial in self.task.dials for _ in range(Spline.KNOTS)]
        moved = zip(dials, knots.tolist(), distances.tolist(), strict=True)
        return _places([dial.unit(dial.shifted(dial.at(place), distance)) for dial, place, distance in moved])


def _run(task: Task, policy: Policy, instances: Sequence[Instance]) -> Sequence[Outcome]:
    return run(task, instances, policy, slots=len(instances))


def _begun_at(task: Task, instance: Instance, setting: Places) -> Instance:
    """The same training, but for where its controls begin."""
    held, controls = instance.config(task).held(), dict(instance.controls)
    for dial, place in zip(task.dials, setting, strict=True):
        controls |= dial.fields(dial.at(place), {**held, **controls})
    return replace(instance, controls=controls)


def _places(point: npt.ArrayLike) -> Places:
    """Within the bounds, in so many digits that a file has them all."""
    return tuple(np.clip(np.round(np.asarray(point, dtype=np.float64), 6), -1, 1).tolist())


def _even(count: int, dimensions: int) -> npt.NDArray[np.float64]:
    """So many points that fill the unit cube evenly, (count, dimensions): the additive recurrence of Roberts's R."""
    root = 2.0
    for _ in range(60):
        root = (1 + root) ** (1 / (dimensions + 1))
    steps = root ** -np.arange(1.0, dimensions + 1)
    return np.asarray((0.5 + np.arange(1, count + 1)[:, None] * steps) % 1)


# --------------------------------------------------------------------------------------------------------- to choose


def _loss(kept: Kept) -> float:
    """What choices look at: a validation loss."""
    return kept.loss


def _mean(runs: Sequence[Kept]) -> float:
    return fmean(math.log(_loss(kept)) for kept in runs)


def _best(tried: Tried) -> Places:
    """What has the lowest validation loss, in the mean of its logarithm; the first of equals."""
    return min(tried, key=lambda places: _mean(tried[places]))


def _liked(tried: Tried, most: int) -> list[Places]:
    """Settings worth a look on test instances: the best, then what most validation instances like best, then in order
    of their losses."""
    single = _best(tried)
    likes = Counter(min(tried, key=lambda places: _loss(tried[places][i])) for i in range(len(tried[single])))
    ranks = {places: (places != single, -likes[places], _mean(runs)) for places, runs in tried.items()}
    return sorted(ranks, key=ranks.__getitem__)[:most]


def _chosen(tried: Tried, settings: Sequence[Places]) -> list[Kept]:
    """Each instance under a setting of its own."""
    return [tried[setting][i] for i, setting in enumerate(settings)]


def _own(tried: Tried) -> list[Kept]:
    """Each instance under what its own validation loss likes best, at the price of all."""
    rows = list(zip(*tried.values(), strict=True))
    return [replace(min(row, key=_loss), member_steps=sum(kept.member_steps for kept in row)) for row in rows]


def _of_class(tried: Tried, labels: Sequence[str], label: str) -> Tried:
    """The trainings of the instances of one label."""
    return {
        places: [kept for kept, own in zip(runs, labels, strict=True) if own == label] for places, runs in tried.items()
    }


def _classes(task: Task, instances: Sequence[Instance]) -> dict[str, list[str]]:
    """What each instance is of a field in which they differ (of a range: which half), and of all of these together."""
    labels: dict[str, list[str]] = {}
    for name, varied in task.varied.items():
        configs = [instance.config(task) for instance in instances]
        values = [{**config.held(), HORIZON: config.train.max_iters}.get(name) for config in configs]
        if varied.low is None:
            labels[name] = [shown(value) for value in values]
        else:
            labels[name] = [
                "none" if value is None else "low" if varied.unit(value) < 0 else "high" for value in values
            ]
    labels = {name: each for name, each in labels.items() if len(task.varied[name].values) != 1}
    if len(labels) > 1:
        labels[BOTH.join(labels)] = [BOTH.join(each) for each in zip(*labels.values(), strict=True)]
    return labels


def _steps(tried: Tried) -> int:
    return sum(kept.member_steps for runs in tried.values() for kept in runs)


def _way(name: str, validation: Sequence[Kept], test: Sequence[Kept], single: Sequence[Kept], choosing: int) -> Way:
    """A way from its trainings. single: those of the best single setting on validation instances."""
    gain = shares([kept.test_loss for kept in single], [kept.test_loss for kept in validation])
    return Way(
        name=name,
        validation=fmean(gain),
        losses=tuple(kept.test_loss for kept in test),
        diverged=sum(kept.diverged for kept in test),
        choosing=choosing,
        training=round(fmean(kept.member_steps for kept in test)),
    )
