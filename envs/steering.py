"""Trainings that are steered: the core of every environment here.

A steering advances N trainings by one step at a time. Those of one shape are members of one trainer, so N environments
step as one batched model; a training's numbers do not depend on who is beside it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tunemax.envs.controls import Moves
from tunemax.envs.instances import Instance, Part
from tunemax.envs.observation import Features, Measure, Observation, Watch, measure
from tunemax.envs.task import Task
from tunemax.envs.texts import REWARD_SLICE, TEST_SLICE, check_text, corpus_of
from tunemax.gpt.config import Config
from tunemax.gpt.divergence import divergence_cap
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.pool import Pool
from tunemax.gpt.snapshot import Snapshot
from tunemax.gpt.trainer import Member, Trainer

MARGIN = 0.5
"""Added to the log of the cap for a diverged training: it ends worse than any training that does not diverge can."""
TESTED_AT_ONCE = 64
"""Windows of a forward pass in a test: another number would change the last digits of what was published."""


@dataclass(frozen=True)
class Past:
    """One look at a training, for drawings and tables: at its start, and after every step."""

    iteration: int
    loss: float
    grad_norm: float
    controls: Mapping[str, float]
    """Values of the dials during the step."""
    beta: tuple[float, ...]
    log_gamma: tuple[float, ...]


@dataclass
class Episode:
    """What there is to a training beside its weights; plain data."""

    instance: Instance
    watch: Watch = field(default_factory=Watch)
    history: list[Past] = field(default_factory=list)
    iteration: int = 0
    loss: float = math.nan
    """Validation loss now, in nats a token; what a diverged training is charged."""
    ended: bool = False
    diverged: bool = False
    test_loss: float | None = None

    @property
    def total(self) -> float:
        """The return so far, in nats: log of the first loss minus log of the present one."""
        return self.watch.first - self.watch.last


@dataclass(frozen=True)
class Transition:
    """What one step, or a start, gives: as Gymnasium's `step` and `reset` do."""

    observation: Observation
    reward: float
    terminated: bool
    info: dict[str, Any]


@dataclass(frozen=True)
class State:
    """A training that can go on elsewhere, bit for bit on a CPU. `snapshot` is None once it has ended."""

    episode: Episode
    snapshot: Snapshot | None


@dataclass(eq=False)
class _Slot:
    episode: Episode
    trainer: Trainer
    member: Member | None
    """None once the training has ended."""
    varied: Mapping[str, float]
    """What the instance is of the fields that vary, as the agent is shown it."""

    @property
    def live(self) -> Member:
        assert self.member is not None
        return self.member

    @property
    def cap(self) -> float:
        return divergence_cap(self.live.config, self.trainer.corpus)


class Steering:
    """N slots, each with one training of a task, advanced together.

    Slots are numbered from 0, and empty until `start`; a training that has ended keeps its slot, but trains no more.
    """

    def __init__(self, task: Task, slots: int = 1) -> None:
        if slots < 1:
            raise TunemaxError(f"{slots} trainings: expected at least one")
        self.task = task
        self.features = Features(task.dials, task.varied)
        self._slots: list[_Slot | None] = [None] * slots
        self._pool = Pool(corpus_of)

    @property
    def size(self) -> int:
        return len(self._slots)

    def episode(self, slot: int = 0) -> Episode:
        """The training in a slot, to read. Raises TunemaxError for an empty slot."""
        return self._slot(slot).episode

    def running(self, slot: int) -> bool:
        """Whether the slot has a training that has not ended."""
        there = self._slots[slot]
        return there is not None and there.member is not None

    def begun(self, slot: int) -> bool:
        """Whether the slot has a training, running or ended."""
        return self._slots[slot] is not None

    def ended(self, slot: int) -> bool:
        """Whether the slot has a training that has ended."""
        return self.begun(slot) and not self.running(slot)

    # ------------------------------------------------------------------------------------------------------ steps

    def start(self, instances: Mapping[int, Instance]) -> dict[int, Transition]:
        """Put new trainings into slots, whatever was there; what they look like before the first step.

        Raises TunemaxError for an instance that does not go with the task or the text; then nothing has changed.
        """
        configs = {slot: self._checked(instance) for slot, instance in instances.items()}
        for slot, config in configs.items():  # nothing can be refused any more
            self._clear(slot)
            trainer, member = self._pool.add(config)
            for name, value in instances[slot].controls.items():
                if "@" in name:
                    trainer.set(member, name, value)
            self._slots[slot] = _Slot(Episode(instances[slot]), trainer, member, self.features.of_config(config))
        found = self._measured(list(instances))
        for slot in instances:
            self._begin(self._slot(slot), found[slot])
        seen = self._observations(found)
        return {slot: Transition(seen[slot], 0.0, False, self._info(self._slot(slot))) for slot in instances}

    def advance(self, moves: Mapping[int, npt.ArrayLike | Mapping[str, float]]) -> dict[int, Transition]:
        """One step of every running training.

        moves: by slot, numbers (dials,) in [-1, 1] as `Actions.read` gives them, or the values that dials are to have.

        Raises TunemaxError for a slot where nothing is running, and if a running one is left out.
        """
        for slot in moves:
            if not self.running(slot):
                reason = "this episode has ended" if self.begun(slot) else "no training has begun"
                raise TunemaxError(f"step: {reason}; call reset")
        if left_out := [slot for slot in range(self.size) if self.running(slot) and slot not in moves]:
            raise TunemaxError(f"step: no action for training {left_out[0]}; running trainings advance together")
        actions = {
            slot: move(self._slot(slot).trainer, self._slot(slot).live, self.task, wanted)
            for slot, wanted in moves.items()
        }
        for slot in moves:
            self._disturb(self._slot(slot))
        before = {}
        for trainer in self._trainers(moves):
            before[trainer] = trainer.rows()
            self.train(trainer)
        found = self._measured(list(moves), before)
        for slot in moves:
            self._judge(self._slot(slot), found[slot], actions[slot])
        return self._transitions(list(moves), found)

    def train(self, trainer: Trainer) -> None:
        """What a step does to the members of a trainer, once their dials are where they are wanted."""
        trainer.step(self.task.frame_skip)

    # ----------------------------------------------------------------------------------------------------- states

    def state(self, slot: int = 0) -> State | None:
        """A copy of the training in a slot, None for an empty one."""
        there = self._slots[slot]
        if there is None:
            return None
        snapshot = there.trainer.snapshot(there.member) if there.member else None
        return State(copy.deepcopy(there.episode), snapshot)

    def put(self, slot: int, state: State | None) -> None:
        """Let a slot go on from a state, or be empty. Raises TunemaxError for a state of another task."""
        if state is None:
            self._clear(slot)
            return
        config = state.episode.instance.config(self.task, state.episode.iteration)
        if state.snapshot is not None and state.snapshot.config != config:
            raise TunemaxError(
                "state: it belongs to another task; make the environment with the arguments that the state's had"
            )
        trainer = self._pool.trainer(config)
        member = None if state.snapshot is None else trainer.restore(state.snapshot)
        self._clear(slot)
        varied = self.features.of_config(state.episode.instance.config(self.task))
        self._slots[slot] = _Slot(copy.deepcopy(state.episode), trainer, member, varied)

    # ----------------------------------------------------------------------------------------------------- inside

    def _checked(self, instance: Instance) -> Config:
        """The configuration that an instance begins with. Raises TunemaxError for what it cannot come through."""
        config, vocabulary = instance.config(self.task), None
        self.task.steps(config.train.max_iters)
        for event in instance.events:
            if event.iteration % self.task.frame_skip or not 0 <= event.iteration < config.train.max_iters:
                steps = f"expected a multiple of frame_skip = {self.task.frame_skip} below {config.train.max_iters}"
                raise TunemaxError(f"instance {instance.name}: something happens at {event.iteration}; {steps}")
        for iteration in (0, *(event.iteration + 1 for event in instance.events)):
            now = instance.config(self.task, iteration)
            corpus = self._pool.trainer(now).corpus
            check_text(self.task, instance, now, corpus)
            vocabulary = vocabulary or corpus.manifest.vocab_size
            if corpus.manifest.vocab_size != vocabulary:
                other = f"{now.train.dataset} has {corpus.manifest.vocab_size} tokens, the text before it {vocabulary}"
                raise TunemaxError(f"instance {instance.name}: {other}; shift to a text with the same vocabulary")
        return config

    def _disturb(self, there: _Slot) -> None:
        """Let happen to a training what comes before its next step; it may go on in another trainer."""
        due = [event for event in there.episode.instance.events if event.iteration == there.live.iteration]
        if not due:
            return
        snapshot = there.trainer.snapshot(there.live)
        for event in due:
            snapshot = event.after(snapshot, there.trainer.layout)
        there.trainer.remove(there.live)
        there.trainer = self._pool.trainer(snapshot.config)
        there.member = there.trainer.restore(snapshot)

    def _slot(self, slot: int) -> _Slot:
        there = self._slots[slot]
        if there is None:
            raise TunemaxError("no training has begun here; call reset")
        return there

    def _clear(self, slot: int) -> None:
        if self.running(slot):
            self._slot(slot).trainer.remove(self._slot(slot).live)
        self._slots[slot] = None

    def _trainers(self, slots: Iterable[int]) -> list[Trainer]:
        """Those of some slots, each once."""
        return list(dict.fromkeys(self._slot(slot).trainer for slot in slots))

    def _alike(self, slots: Iterable[int]) -> Iterator[tuple[Trainer, Part, list[_Slot]]]:
        """Those of some slots that are measured together: of one trainer, on one part of its text."""
        found: dict[tuple[Trainer, Part], list[_Slot]] = {}
        for there in map(self._slot, slots):
            found.setdefault((there.trainer, there.episode.instance.measured), []).append(there)
        for (trainer, part), group in found.items():
            yield trainer, part, group

    def _measured(self, slots: list[int], before: Mapping[Trainer, Any] | None = None) -> dict[int, Measure]:
        members = {self._slot(slot).member: slot for slot in slots}
        found: dict[int, Measure] = {}
        for trainer, part, group in self._alike(slots):
            live = {there.member for there in group}
            chosen = [member for member in trainer.members if member in live]
            windows = trainer.corpus.windows(REWARD_SLICE, trainer.model.block_size, self.task.windows, *part)
            seen = measure(trainer, chosen, windows, (before or {}).get(trainer))
            found |= {members[member]: of_member for member, of_member in seen.items()}
        return found

    def _begin(self, there: _Slot, found: Measure) -> None:
        cap = there.cap
        there.episode.loss = found.loss if found.loss <= cap else cap
        there.episode.watch.see(found, math.log(there.episode.loss), [0.0] * len(self.task.dials))
        self._remember(there, found)

    def _judge(self, there: _Slot, found: Measure, action: npt.NDArray[np.float64]) -> None:
        """Take in what a step has done; find out whether it was the last."""
        episode, member, cap = there.episode, there.live, there.cap
        episode.iteration = member.iteration
        member.look(found.loss, cap)
        episode.diverged = member.event is not None
        episode.ended = episode.diverged or member.at_horizon
        episode.loss = cap * math.exp(MARGIN) if episode.diverged else min(found.loss, cap)
        episode.watch.see(found, math.log(episode.loss), action.tolist())
        self._remember(there, found)

    def _transitions(self, slots: list[int], found: Mapping[int, Measure]) -> dict[int, Transition]:
        """What the step gives each slot. Trainings that have ended are tested together, and their rows are let go."""
        ended = [slot for slot in slots if self._slot(slot).episode.ended]
        if self.task.test_windows:
            self._test(ended)
        result, seen = {}, self._observations(found)
        for slot in slots:
            there = self._slot(slot)
            past = there.episode.history
            reward = (math.log(past[-2].loss) - math.log(past[-1].loss)) * self.task.reward_scale
            result[slot] = Transition(seen[slot], reward, there.episode.ended, self._info(there))
        for slot in ended:
            there = self._slot(slot)
            there.trainer.remove(there.live)
            there.member = None
        return result

    def _test(self, slots: list[int]) -> None:
        """Measure trainings that have ended on the test slice; one that has diverged gets the cap."""
        for trainer, part, group in self._alike(slots):
            members = [there.live for there in group if not there.episode.diverged]
            windows = trainer.corpus.windows(TEST_SLICE, trainer.model.block_size, self.task.test_windows, *part)
            losses = trainer.mean_losses(members, windows, TESTED_AT_ONCE)
            for there in group:
                there.episode.test_loss = min(losses.get(there.live, there.cap), there.cap)

    def _observations(self, found: Mapping[int, Measure]) -> dict[int, Observation]:
        """What is seen of each of some slots."""
        raw = []
        for slot, measured in found.items():
            there = self._slot(slot)
            seen = there.episode.watch.raw(measured, there.live, self.task.frame_skip, self.task.dials)
            raw.append({**seen, **there.varied})
        return dict(zip(found, self.features.normalised(raw), strict=True)) if raw else {}

    def _remember(self, there: _Slot, found: Measure) -> None:
        episode, values = there.episode, {dial.name: dial.read(there.live.values) for dial in self.task.dials}
        constants = found.constants
        episode.history.append(
            Past(episode.iteration, episode.loss, found.grad_norm, values, constants.beta, constants.log_gamma)
        )

    def _info(self, there: _Slot) -> dict[str, Any]:
        episode = there.episode
        info: dict[str, Any] = {
            "instance": episode.instance.name,
            "iteration": episode.iteration,
            "loss": episode.loss,
            "diverged": episode.diverged,
            "return": episode.total,
            "controls": dict(episode.history[-1].controls),
        }
        return info if episode.test_loss is None else {**info, "test_loss": episode.test_loss}


def move(trainer: Trainer, member: Member, task: Task, wanted: npt.ArrayLike | Mapping[str, float]) -> Moves:
    """Put the dials of a training where an action (dials,) wants them, or to the values of some of them by name.

    Returns the action; of values, the one that leads there, or as near as one action can.
    """
    action = _towards(member, task, wanted) if isinstance(wanted, Mapping) else np.asarray(wanted, dtype=np.float64)
    for dial, a in zip(task.dials, action.tolist(), strict=True):
        value = dial.read(member.values)
        if isinstance(wanted, Mapping):
            new = dial.at(dial.unit(wanted[dial.name])) if dial.name in wanted else value
        else:
            new = dial.at(a) if task.action == "absolute" else dial.moved(value, a)
        if new != value:
            for name, of_field in dial.fields(new, member.values).items():
                trainer.set(member, name, of_field)
    return action


def _towards(member: Member, task: Task, values: Mapping[str, float]) -> Moves:
    """What an observation shows as the action that led to these values."""
    places = {dial: dial.read(member.values) for dial in task.dials}
    goals = {dial: values.get(dial.name, value) for dial, value in places.items()}
    if task.action == "absolute":
        return np.array([dial.unit(goal) for dial, goal in goals.items()])
    return np.array([dial.action_towards(places[dial], goal) for dial, goal in goals.items()])
