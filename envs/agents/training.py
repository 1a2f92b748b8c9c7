"""The training of an agent, in rounds: learn, look at validation instances, save, report; then, whether it has learned.

Every round begins with new episodes and with seeds of its own, so a training that was killed goes on from its last save
to the same numbers as one that was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger

from tunemax.envs.agents import file
from tunemax.envs.agents.ablations import Recorded
from tunemax.envs.agents.agent import BEST, LAST, Agent, build, check_version, features_of, fill, parts, versions
from tunemax.envs.agents.file import Evaluation, Header, Learning, Spent, best_of
from tunemax.envs.agents.global_rng import borrowed
from tunemax.envs.agents.hyperparameters import KINDS, Algorithm, OnPolicy, Preset, read
from tunemax.envs.agents.learned import check
from tunemax.envs.agents.scene import Scene
from tunemax.envs.agents.vitals import entropy_of, losses_of
from tunemax.envs.instances import find_set
from tunemax.envs.rollouts import run
from tunemax.envs.texts import begun_with, corpus_of
from tunemax.gpt.checkpoint import FORMAT
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.interrupt import held_back
from tunemax.gpt.locks import Busy, locked_at_once
from tunemax.gpt.loggers import Loggers
from tunemax.gpt.random import key

LOCK = ".lock"
ROUND = 10
BEGUN = ("preset", "envs", "round", "validation")
"""Of a plan, what a training that goes on may leave to how it was begun."""


@dataclass(frozen=True)
class Plan:
    """What is to be trained.

    steps: of the environment, all trainings together, rounded up to whole rounds. envs: trainings at once.
    round: episodes of each of them between two looks. validation: instances of a look, the first so many of their set.
    With 16 trainings, looking costs 40 % of what learning does by default; a quarter of the instances would have twice
    the error. checked: training instances of the learning check.
    """

    scene: Scene
    algorithm: Algorithm
    preset: Preset
    seed: int
    steps: int
    envs: int = 16
    round: int = ROUND
    validation: int = 64
    checked: int = 64

    def __post_init__(self) -> None:
        for name in ("steps", "envs", "round", "validation", "checked"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise TunemaxError(f"{name} = {value}: expected a whole number of at least 1")
        for name, count, of in (("validation", self.validation, "validation"), ("checked", self.checked, "train")):
            if count > find_set(of).count:
                raise TunemaxError(f"{name} = {count}: the set has {find_set(of).count} instances")
        discrete = self.scene.action in ("discrete", "multidiscrete")
        if self.algorithm == "dqn" and self.scene.action != "discrete":
            raise TunemaxError(f"dqn: cannot act with action = {self.scene.action}; it needs action = discrete")
        if self.algorithm in ("sac", "tqc") and discrete:
            action = self.scene.action
            raise TunemaxError(f"{self.algorithm}: cannot act with action = {action}; it needs box or absolute")
        if isinstance(self.preset, OnPolicy) and self.round % self.preset.episodes:
            episodes = self.preset.episodes
            raise TunemaxError(f"round = {self.round}: not a multiple of episodes = {episodes}; change one of them")

    @property
    def round_steps(self) -> int:
        """Steps of the environment in one round; where horizons vary, of so many episodes of the mean."""
        return self.round * self.envs * self.scene.task.mean_steps

    @property
    def rounds(self) -> int:
        return math.ceil(self.steps / self.round_steps)

    def as_begun(self, folder: Path, unsaid: Collection[str]) -> Plan:
        """The same to go on with in a folder: what nobody has said, of BEGUN, is as the training there was begun.

        Defaults and presets may have changed since.
        """
        before = last_of(folder)
        if before is None or before.algorithm != self.algorithm:
            return self
        preset = read(KINDS[before.algorithm], before.preset, str(folder / LAST))
        begun: dict[str, Any] = {
            "preset": preset,
            "envs": before.envs,
            "round": before.round,
            "validation": before.validation,
        }
        return replace(self, **{name: begun[name] for name in unsaid})


@dataclass(frozen=True)
class Trained:
    """How a training ended. best: the file of the agent with the highest validation return, of equals the latest.
    learning: whether it has learned, None if a report has stopped it."""

    best: Path
    last: Path
    spent: Spent
    evaluations: tuple[Evaluation, ...]
    learning: Learning | None

    @property
    def stopped(self) -> bool:
        return self.learning is None

    @property
    def best_evaluation(self) -> Evaluation:
        return best_of(self.evaluations)

    def to_json(self) -> dict[str, Any]:
        found = {"learned": self.learning.learned, **self.learning.model_dump()} if self.learning else None
        return {
            "agent": str(self.best),
            "best": self.best_evaluation.model_dump(),
            "learning": found,
            "spent": self.spent.model_dump(),
            "evaluations": [each.model_dump() for each in self.evaluations],
        }


def train_agent(
    plan: Plan,
    folder: Path,
    report: Callable[[Evaluation], bool] = lambda evaluation: False,
    stepped: Callable[[int], None] = lambda steps: None,
) -> Trained:
    """Train an agent, or go on with one whose folder has its last save.

    folder: gets BEST and LAST and TensorBoard events. report: told each look at validation instances; true stops.
    stepped: told the steps so far, often. An interrupt loses what has been learned since the last save, nothing else.
    Raises TunemaxError if the folder holds another agent, or is being trained in by another process.
    """
    before = last_of(folder)
    if before and before.scene.at(plan.scene.schema_version) == plan.scene:
        plan = replace(plan, scene=before.scene)  # as it was begun
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with (
            locked_at_once(folder / LOCK),
            begun_with(file.load(folder / LAST)[0].data if (folder / LAST).exists() else None),
        ):
            return _Training(plan, folder).run(report, stepped)
    except Busy:
        raise TunemaxError(
            f"{folder}: another process trains an agent here; wait for it, or choose another --out"
        ) from None


def in_use(folder: Path) -> bool:
    """Whether a process trains an agent in a folder now. Leaves no lock where there was none, and follows no link."""
    if (folder / ".lock").is_symlink() or not (folder / ".lock").is_file():
        return False
    try:
        with locked_at_once(folder / LOCK):
            return False
    except Busy:
        return True


class _Training:
    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.model = build(plan.scene, plan.algorithm, plan.preset, plan.seed, plan.envs)
        self.spent = Spent()
        self.evaluations: tuple[Evaluation, ...] = ()
        self.learning: Learning | None = None
        self.round = 0
        if (folder / LAST).exists():
            self._go_on()

    def run(self, report: Callable[[Evaluation], bool], stepped: Callable[[int], None]) -> Trained:
        resumed = any(self.folder.glob("events.*"))
        resumed_at = self.model.num_timesteps + 1 if resumed else None
        loggers = Loggers(lambda kind: kind.open(self.folder, None, resumed_at=resumed_at))
        self.model.set_logger(Logger(None, [_ToLoggers(loggers)]))
        stopped = False
        try:
            while self.round < self.plan.rounds and not stopped:
                self._learn(stepped)
                evaluation = self._evaluate()
                loggers.log(_curves(evaluation), evaluation.steps)
                with held_back():
                    self._save()
                stopped = report(evaluation)
            if not stopped and self.learning is None:
                self._check(loggers)
        finally:
            loggers.close()
            self.model.get_env().close()  # type: ignore[union-attr]
        return Trained(self.folder / BEST, self.folder / LAST, self.spent, self.evaluations, self.learning)

    def _learn(self, stepped: Callable[[int], None]) -> None:
        """One round, with seeds that are a function of the plan's seed and the round alone."""
        plan, before = self.plan, self.model.num_timesteps
        with borrowed():
            self.model.set_random_seed(key(plan.seed, "agent", self.round) % 2**31)
            self.model._last_obs = None  # new episodes
            steps = _Steps(plan.rounds * plan.round_steps, stepped)
            interval = 1 if isinstance(plan.preset, OnPolicy) else plan.envs
            self.model.learn(plan.round_steps, steps, log_interval=interval, reset_num_timesteps=False)
        self.round += 1
        self.learning = None
        learned = (self.model.num_timesteps - before) * plan.scene.task.frame_skip
        self.spent = self.spent.model_copy(update={"learning": self.spent.learning + learned})

    def _evaluate(self) -> Evaluation:
        task = replace(self.plan.scene.task, test_windows=0)  # no test loss is looked at
        instances = [find_set("validation").draw(task, index) for index in range(self.plan.validation)]
        agent = Recorded(Agent(self._header({}, {}), self.model))
        outcomes = run(task, instances, agent)
        steps = sum(outcome.member_steps for outcome in outcomes)
        self.spent = self.spent.model_copy(update={"validation": self.spent.validation + steps})
        total = float(np.mean([outcome.total for outcome in outcomes]))
        diverged = float(np.mean([outcome.diverged for outcome in outcomes]))
        entropy, share = entropy_of(self.model, np.stack(agent.seen), task.mean_steps)
        evaluation = Evaluation(
            steps=self.model.num_timesteps,
            total=total,
            diverged=diverged,
            entropy=entropy,
            entropy_share=share,
            losses=losses_of(self.model),
        )
        self.evaluations = (*self.evaluations, evaluation)
        return evaluation

    def _save(self) -> None:
        """The best first: cut short in between, the round is learned again, to the same agent."""
        state, counts, tensors = parts(self.model)
        header = self._header(state, counts)
        if self.evaluations[-1] == best_of(self.evaluations):
            file.save(header, tensors, self.folder / BEST)
        file.save(header, tensors, self.folder / LAST)

    def _check(self, loggers: Loggers) -> None:
        """Whether the best has learned, written into both files; cut short, it is found out again, to the same."""
        best, tensors = file.load(self.folder / BEST)
        self.learning = best.learning  # of before the training was prolonged, and no later save was better
        cost = max(self.spent.check, best.spent.check)
        if self.learning is None:
            self.learning, steps = check(Agent.load(self.folder / BEST), self.plan.checked)
            cost += steps
            checked = {"learning": self.learning, "spent": best.spent.model_copy(update={"check": cost})}
            file.save(best.model_copy(update=checked), tensors, self.folder / BEST)
        self.spent = self.spent.model_copy(update={"check": cost})
        last, tensors = file.load(self.folder / LAST)
        file.save(last.model_copy(update={"learning": self.learning, "spent": self.spent}), tensors, self.folder / LAST)
        found = {"gain": self.learning.gain, "low": self.learning.low, "high": self.learning.high}
        loggers.log({f"learning/{name}": value for name, value in found.items()}, best.steps)

    def _header(self, state: Any, counts: dict[str, int | float]) -> Header:
        plan, task = self.plan, self.plan.scene.task
        return Header(
            format=FORMAT,
            scene=plan.scene,
            plugins=task.config.plugins,
            controls=task.controls,
            features=features_of(task),
            data=corpus_of(task.config.train).manifest.fingerprint,
            reward_scale=task.reward_scale,
            algorithm=plan.algorithm,
            preset=plan.preset.model_dump(mode="json"),
            seed=plan.seed,
            envs=plan.envs,
            round=plan.round,
            validation=plan.validation,
            steps=self.model.num_timesteps,
            spent=self.spent,
            evaluations=self.evaluations,
            learning=self.learning,
            versions=versions(),
            state=state,
            counts=counts,
        )

    def _go_on(self) -> None:
        """From the last save of the same training, which may be asked for more steps."""
        path = self.folder / LAST
        header, tensors = file.load(path)
        check_version(header, path)
        if not header.counts:
            raise TunemaxError(f"{path}: a published agent, which acts and cannot learn on; choose another --out")
        asked = self._header({}, {})
        for name in ("scene", "algorithm", "seed", "envs", "round", "validation", "preset", "data"):
            was, now = getattr(header, name), getattr(asked, name)
            if name == "preset":  # where its values come from may be told in other words since
                was, now = ({**each, "source": ""} for each in (was, now))
            if was != now:
                other = name if name in ("scene", "preset", "data") else f"{name} ({was}, not {now})"
                remedy = "go on as it was begun, or choose another --out"
                raise TunemaxError(f"{self.folder}: holds an agent of another {other}; {remedy}")
        fill(self.model, header, tensors, path)
        self.spent, self.evaluations, self.learning = header.spent, header.evaluations, header.learning
        self.round = len(self.evaluations)


def _curves(evaluation: Evaluation) -> dict[str, float]:
    """What TensorBoard is shown of a look."""
    known = {
        "return": evaluation.total,
        "diverged": evaluation.diverged,
        "entropy": evaluation.entropy,
        "entropy_share": evaluation.entropy_share,
    }
    return {f"validation/{name}": value for name, value in known.items() if value is not None}


class _Steps(BaseCallback):
    """Tells steps; and lets schedules, such as DQN's exploration, run over the whole training instead of one round."""

    def __init__(self, whole: int, stepped: Callable[[int], None]) -> None:
        super().__init__()
        self._whole, self._stepped = whole, stepped

    def _on_training_start(self) -> None:
        self.model._total_timesteps = self._whole

    def _on_step(self) -> bool:
        self._stepped(self.model.num_timesteps)
        return True


class _ToLoggers(KVWriter):
    """What an algorithm logs, to our loggers."""

    def __init__(self, loggers: Loggers) -> None:
        self._loggers = loggers

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        numbers = {
            name: float(value)
            for name, value in key_values.items()
            if isinstance(value, (int, float, np.number)) and "tensorboard" not in (key_excluded.get(name) or ())
        }
        self._loggers.log(numbers, step)

    def close(self) -> None:
        """The training closes them."""


def last_of(folder: Path) -> Header | None:
    """What the last save in a folder says, None without one."""
    return file.load(folder / LAST)[0] if (folder / LAST).exists() else None
