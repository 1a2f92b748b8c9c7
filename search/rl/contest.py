"""Agents and baselines on the same held-out instances.

Every contender's run is kept, so a contest that is cut short goes on. What another version has run is run anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from tunemax.envs.agents.ablations import FEEDBACK, PROGRESS, Hidden, Recorded, Shuffled
from tunemax.envs.agents.agent import BEST, Agent
from tunemax.envs.agents.scene import Scene
from tunemax.envs.agents.training import last_of
from tunemax.envs.hypergradient import RATE, hypergradient
from tunemax.envs.instances import Instance, find_set
from tunemax.envs.policies import Policy, Random, Static
from tunemax.envs.rollouts import Outcome, left_to_sgd, lookahead, population, run
from tunemax.envs.steering import Past
from tunemax.envs.task import Task
from tunemax.envs.texts import corpus_of, texts_of
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import write_whole
from tunemax.gpt.paths import inside
from tunemax.gpt.random import key
from tunemax.search.question.counting import counted
from tunemax.search.rl.baselines import KINDS, SCHEDULES, Tuned
from tunemax.search.rl.journal import VERSIONS

Role = Literal["agent", "baseline", "ablation"]
UNTUNED = ("static", "random", "left_to_sgd", "population", "lookahead", "hypergradient")
"""Baselines that need no tuning."""
POPULATION = 4
"""Trainings of population based training, for each instance."""
LOOK = (4, 4)
"""Steps of a look ahead, and ways that it tries: as much as POPULATION costs."""
ABLATIONS = ("without feedback", "without progress", "with shuffled observations")
FEW = 32
"""Instances, the first ones, of populations and looks ahead: dear, and nothing is claimed of them."""
ABLATED = 8
"""The same of ablations, of which every seed of every agent has three."""
TOGETHER = 32
"""Trainings side by side, a sixth faster than 16; their numbers do not depend on their neighbours."""
Report = Callable[[str], None]
Steered = Callable[[Sequence[Instance]], Sequence[Outcome]]


@dataclass(frozen=True)
class Contender:
    """What is compared.

    name: of agents, see `name_of`, or a baseline. cost: member-steps before its first run, the mean over its seeds or
    tunings. runs: for each seed, or tuning, or the one of what has neither, the outcome of the instances in their
    order, of some the first FEW or ABLATED of them.
    """

    name: str
    role: Role
    cost: int
    runs: Mapping[str, Sequence[Outcome]]
    learned: Mapping[str, bool] = field(default_factory=dict)
    """Of an agent's runs, by their labels, whether they do better than nothing where they were trained, if that was
    checked."""


@dataclass(frozen=True)
class Contest:
    """All contenders on one set of instances.

    tuned: what every tuning of the baselines has come to. storage: where all of it lies, as commands name it.
    """

    scene: Scene
    set: str
    instances: Sequence[Instance]
    contenders: Sequence[Contender]
    tuned: Sequence[Tuned]
    storage: str

    def contender(self, name: str) -> Contender | None:
        return next((each for each in self.contenders if each.name == name), None)

    @property
    def schedule(self) -> str | None:
        """The best schedule: of those that were tuned, the one whose tunings validation instances like best."""
        returns = {kind: [each.validation for each in self.tuned if each.kind == kind] for kind in SCHEDULES}
        known = {kind: fmean(values) for kind, values in returns.items() if values}
        return max(known, key=known.__getitem__) if known else None


@dataclass(frozen=True)
class _Run:
    """One contender's run of all instances. identity: what else its outcomes depend on."""

    name: str
    role: Role
    label: str
    cost: int
    identity: str
    outcomes: Steered
    most: int | None = None
    """Of the instances, the first so many; None: all."""
    learned: bool | None = None
    """See `Contender`; None if nobody has checked."""


def hold(
    scene: Scene,
    agents: Sequence[tuple[Agent, Path]],
    tuned: Sequence[Tuned],
    set: str,
    count: int,
    folder: Path,
    storage: str,
    report: Report,
) -> Contest:
    """Run everything on the first `count` instances of a set.

    agents: with their files. storage: as commands name it. folder: keeps the outcomes of each run; what is there
    already is not run again. report: told each run by its name. Raises TunemaxError for an agent of another
    environment, or a test loss that the task does not measure.
    """
    if not scene.task.test_windows:
        raise TunemaxError(f"{scene.id}: test_windows = 0, so there is nothing to compare; leave it at its default")
    instances = [find_set(set).draw(scene.task, index) for index in range(count)]
    found: dict[str, Contender] = {}
    contenders = [*_baselines(scene.moves.task, tuned), *_agents(scene, agents)]
    for place, each in enumerate(contenders, 1):
        met = instances[: each.most]
        report(f"{place}/{len(contenders)}  {each.label} on {counted(len(met), 'instance')} of {set}")
        outcomes = _kept(each, scene, met, folder, report)
        before = found.get(each.name)
        runs = {**(before.runs if before else {}), each.label: outcomes}
        costs = [before.cost] * len(before.runs) if before else []
        learned = dict(before.learned) if before else {}
        learned |= {} if each.learned is None else {each.label: each.learned}
        cost = round(sum([*costs, each.cost]) / len(runs))
        found[each.name] = Contender(each.name, each.role, cost, runs, learned)
    return Contest(scene, set, instances, list(found.values()), tuned, storage)


def _baselines(task: Task, tuned: Sequence[Tuned]) -> Iterator[_Run]:
    """What has no gradients. task: one whose actions are moves, since that is what baselines answer with."""
    yield _baseline("static", _under(task, Static.for_task(task)))
    yield _baseline("random", lambda instances: run(task, instances, Random(task, key(0, "contest") % 2**32)))
    if any(dial.learnables for dial in task.dials):  # else it would be `static` again
        yield _baseline("left_to_sgd", lambda instances: left_to_sgd(task, instances))
    together = _baseline("population", lambda instances: _populations(task, instances), identity=str(POPULATION))
    yield replace(together, most=FEW)
    seed = key(0, "contest") % 2**32
    ahead = _baseline("lookahead", lambda instances: lookahead(task, instances, *LOOK, seed), identity=str(LOOK))
    yield replace(ahead, most=FEW)
    if "learning_rate" in task.controls:
        yield _baseline("hypergradient", lambda instances: hypergradient(task, instances), identity=str(RATE))
    for each in tuned:
        steered = _under(task, each.policy(task))
        yield _Run(each.kind, "baseline", each.label, each.member_steps, json.dumps(each.vector), steered)


def _baseline(name: str, outcomes: Steered, *, identity: str = "") -> _Run:
    return _Run(name, "baseline", name, 0, identity, outcomes)


def _agents(scene: Scene, agents: Sequence[tuple[Agent, Path]]) -> Iterator[_Run]:
    """Every agent, then what is left of it without a part of its observation.

    They steer the trainings that baselines steer, whatever those were that they have learned on.
    """
    known: dict[str, Path] = {}
    for agent, path in agents:
        agent.check(scene.task)
        name, last = name_of(agent, path), last_of(path.parent)
        if name in (*UNTUNED, *KINDS):
            raise TunemaxError(f"{path}: called {name}, as a baseline is; rename its folder")
        task = replace(scene.task, action=agent.task.action)
        label = f"{name} {agent.header.seed}"
        if label in known:
            raise TunemaxError(f"{path}: called {label}, as {known[label]} is; rename one of their folders")
        known[label] = path
        # The best agent is as dear as the whole training that it was found in
        cost = (last or agent.header).spent.member_steps
        identity = hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
        yield _Run(name, "agent", label, cost, identity, _under(task, agent), learned=agent.learned)
        for what in ABLATIONS:
            ablated = _without(task, agent, what)
            yield _Run(f"{name} {what}", "ablation", f"{label} {what}", cost, identity, ablated, ABLATED)


def name_of(agent: Agent, path: Path) -> str:
    """What agents that differ by their seed alone are called: as their folders, or files, are without it: `sac`."""
    own = path.parent.name if path.name == BEST else path.stem
    return own.removesuffix(f"-{agent.header.seed}")


def _under(task: Task, policy: Policy) -> Steered:
    return lambda own: run(task, own, policy, TOGETHER)


def _populations(task: Task, instances: Sequence[Instance]) -> list[Outcome]:
    return [population(task, instance, POPULATION, key(0, instance.name) % 2**32) for instance in instances]


def _without(task: Task, agent: Agent, what: str) -> Steered:
    return lambda own: run(task, own, _ablated(task, agent, what, own), TOGETHER)


def _ablated(task: Task, agent: Agent, what: str, instances: Sequence[Instance]) -> Policy:
    names = tuple(name for name, _, _ in agent.header.features)
    if what.startswith("without"):
        return Hidden(agent, names, FEEDBACK if what == "without feedback" else PROGRESS)
    recorded = Recorded(agent)
    run(task, instances, recorded, TOGETHER)
    return Shuffled(agent, recorded.seen, key(agent.header.seed, "shuffled") % 2**32)


# ------------------------------------------------------------------------------------------------- kept, and read again


def _kept(each: _Run, scene: Scene, instances: Sequence[Instance], folder: Path, report: Report) -> Sequence[Outcome]:
    """The outcomes of a run: from its file if that is of the same run on the same instances, else run now."""
    path = inside(folder, f"{each.label.replace(' ', '-')}.json")
    data = ",".join(corpus_of(name).manifest.fingerprint for name in texts_of(scene.task))
    drawn = (json.dumps(asdict(instance), sort_keys=True) for instance in instances)
    parts = "\n".join([each.identity, scene.model_dump_json(), data, *drawn])
    identity = hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()
    if path.exists() and (known := _read(path, identity)) is not None:
        then, before = known
        if then == VERSIONS:
            return before
        report(f"{each.label}: run anew, since it is of another version ({_changed(then)})")
    outcomes = each.outcomes(instances)
    content = {"identity": identity, "versions": VERSIONS, "outcomes": [asdict(outcome) for outcome in outcomes]}
    write_whole(path, json.dumps(content).encode())
    return outcomes


def _read(path: Path, identity: str) -> tuple[dict[str, str], list[Outcome]] | None:
    """The versions and the outcomes in a file; None if they are another run's, or the file is damaged: then they are
    run again."""
    try:
        content: Any = json.loads(path.read_bytes())
        if content["identity"] != identity:
            return None
        return dict(content["versions"]), [_outcome(plain) for plain in content["outcomes"]]
    except (ValueError, KeyError, TypeError):
        return None


def _changed(then: Mapping[str, str]) -> str:
    """What has changed since: tunemax 0.3 → 0.4."""
    names = [name for name in ("tunemax", "torch") if then.get(name) != VERSIONS[name]]
    numbers = ", ".join(f"{name} {then.get(name, '?')} → {VERSIONS[name]}" for name in names)
    return numbers or "the code of tunemax has changed"


def _outcome(plain: Mapping[str, Any]) -> Outcome:
    pasts = (Past(**past) for past in plain["history"])
    history = tuple(replace(past, beta=tuple(past.beta), log_gamma=tuple(past.log_gamma)) for past in pasts)
    return Outcome(**{**plain, "history": history})
