"""An agent's own hyperparameters, tuned: every candidate is a training, and poor ones are stopped.

A file in `studies/` that begins with ``rl_`` says what is asked; its trials lie in ``rl/Constantmax-v1/sac``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import optuna
import pydantic
import yaml
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from pydantic import Field

from tunemax.envs.agents.file import Evaluation
from tunemax.envs.agents.hyperparameters import Algorithm, Preset, usual
from tunemax.envs.agents.scene import Scene
from tunemax.envs.agents.training import BEGUN, ROUND, Plan, last_of, train_agent
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.fields import explain
from tunemax.gpt.files import write_whole
from tunemax.gpt.random import key
from tunemax.search.question.counting import counted
from tunemax.search.question.plugins import without_plugins
from tunemax.search.question.yaml_lines import read_yaml
from tunemax.search.rl.flags import absolute
from tunemax.search.rl.trials import as_begun, evaluated, kept, open_study, revive
from tunemax.search.storage import attributes
from tunemax.search.storage.marks import mark
from tunemax.search.storage.ownership import finish, owned_trials
from tunemax.search.storage.paths import study_folder, trial_folder
from tunemax.search.storage.questions import alone
from tunemax.search.storage.queue import ask
from tunemax.search.views.words import settings

Count = Annotated[int, Field(ge=1)]
PRESET = "preset.yaml"
PAUSE = 2.0
"""Seconds between two looks at what other processes train."""


class Range(pydantic.BaseModel):
    """Where a hyperparameter is looked for."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float
    log: bool = False

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low < self.high or (self.log and self.low <= 0):
            remedy = "low must be less than high, and above 0 if log"
            raise ValueError(f"{self.low:g} to {self.high:g} is no range; {remedy}")
        return self


class AgentStudy(pydantic.BaseModel):
    """What a file asks.

    steps, envs, round: of each training, as `Plan` has them. startup: candidates before anything is guessed or stopped.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    question: str
    environment: str
    arguments: dict[str, Any] = {}
    algorithm: Algorithm
    steps: Count
    envs: Count = 16
    round: Count = ROUND
    seed: Annotated[int, Field(ge=0)] = 1
    trials: Count
    startup: Count = 4
    space: dict[str, Range | list[Any]]

    @property
    def scene(self) -> Scene:
        return Scene.of(self.environment, "discrete" if self.algorithm == "dqn" else "box", **self.arguments)


def read(path: Path) -> AgentStudy:
    """The study of a file. Raises TunemaxError for what is missing, unknown or impossible."""
    try:
        study = AgentStudy.model_validate(without_plugins(path, read_yaml(path)))
        study = study.model_copy(update={"arguments": absolute(study.arguments, path.parent)})
    except pydantic.ValidationError as error:
        raise TunemaxError(f"{path}: {explain(error)}") from error
    preset = usual(study.algorithm, study.scene.id)
    for name in study.space:
        if name not in type(preset).model_fields or name == "source":
            near = did_you_mean(name, type(preset).model_fields)
            raise TunemaxError(f"{path}: space.{name}: no such hyperparameter{near}")
    return study


def tune_agent(storage: RDBStorage, asked: AgentStudy, say: Callable[[str], None]) -> Path:
    """Train candidates until so many have ended; one that was cut short goes on first. Returns the preset of the best.

    say: told each end of a candidate. Raises KeyboardInterrupt after the candidate was put back to wait. Several
    processes may work on one study: whoever has nothing left to train waits for the others, since they may die.
    """
    scene = as_begun(storage, asked.scene)
    study = open_study(storage, scene, asked.algorithm)
    begun = len(study.get_trials(deepcopy=False))
    study.sampler = TPESampler(seed=key(asked.seed, "agents", begun) % 2**32, n_startup_trials=asked.startup)
    study.pruner = MedianPruner(n_startup_trials=asked.startup)
    waiting = False
    while True:
        revive(storage, study)
        with alone(storage):
            # What ends between the two looks is counted twice, and never too few
            running = len(owned_trials(storage, [study.study_name]))
            ended = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))
            trial = ask(study, mark()) if ended + running < asked.trials else None
        if trial:
            with kept(storage, trial):
                say(_train(storage, trial, scene, asked, say))
        elif ended >= asked.trials:
            return _preset(storage, study, asked)
        else:
            if not waiting:
                say(f"waiting for {counted(running, 'candidate')} that other processes train")
            waiting = True
            time.sleep(PAUSE)


def _train(
    storage: RDBStorage, trial: optuna.Trial, scene: Scene, asked: AgentStudy, say: Callable[[str], None]
) -> str:
    """Train a candidate, or go on with it, and end it. Returns what there is to say about it.

    say: told how far it is.
    """
    folder = trial_folder(str(storage.url), trial.study.study_name, trial.number)
    preset = usual(asked.algorithm, scene.id)
    preset = preset.changed(**{name: _suggested(trial, preset, name, within) for name, within in asked.space.items()})
    plan = Plan(scene, asked.algorithm, preset, asked.seed, asked.steps, asked.envs, asked.round)
    plan = plan.as_begun(folder, set(BEGUN) - asked.model_fields_set)
    trial.set_user_attr(attributes.FOLDER, str(folder.absolute()))

    def report(evaluation: Evaluation) -> bool:
        header = last_of(folder)
        assert header is not None
        evaluated(storage, trial, header.evaluations, header.spent.member_steps)
        total = plan.rounds * plan.round_steps
        say(f"trial {trial.number}: steps {evaluation.steps:,}/{total:,}  validation return {evaluation.total:.4f}")
        return evaluation.steps < plan.rounds * plan.round_steps and trial.should_prune()

    trained = train_agent(plan, folder, report)
    evaluated(storage, trial, trained.evaluations, trained.spent.member_steps)
    best = trained.best_evaluation.total
    if trained.stopped:
        finish(storage, trial, mark(), TrialState.PRUNED, trained.evaluations[-1].total)
    else:
        finish(storage, trial, mark(), TrialState.COMPLETE, best)
    end, params = "pruned" if trained.stopped else "complete", "  ".join(settings(trial.params, 3))
    return f"trial {trial.number}: {end}, return {best:.4f}  {params}"


def _suggested(trial: optuna.Trial, preset: Preset, name: str, within: Range | list[Any]) -> Any:
    if isinstance(within, list):
        return trial.suggest_categorical(name, within)
    if isinstance(getattr(preset, name), int):
        return trial.suggest_int(name, int(within.low), int(within.high), log=within.log)
    return trial.suggest_float(name, within.low, within.high, log=within.log)


def _preset(storage: RDBStorage, study: optuna.Study, asked: AgentStudy) -> Path:
    """Write the best candidate's hyperparameters, with the result that they come from."""
    best = study.best_trial
    result = f"trial {best.number} of {study.study_name}, return {best.value:.4f} on validation instances"
    source = f"{result}; best of {asked.trials} of {asked.steps} steps"
    values = usual(asked.algorithm, asked.scene.id).changed(**best.params, source=source)
    path = study_folder(str(storage.url), f"{study.study_name}/{PRESET}")
    write_whole(path, yaml.safe_dump(values.model_dump(mode="json"), sort_keys=False, allow_unicode=True).encode())
    return path
