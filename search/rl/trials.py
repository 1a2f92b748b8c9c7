"""Trainings of agents and tunings of baselines as trials: studies whose names begin with ``rl/``, which are no
questions.

``rl/Constantmax-v0`` has one trial an agent's training; ``rl/Constantmax-v0/spline`` one trial a candidate of a
baseline's tuning. All are maximised: a trial's value is a mean return, log of the first validation loss over the last.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from tunemax.envs.agents.file import Evaluation
from tunemax.envs.agents.hyperparameters import ALGORITHMS
from tunemax.envs.agents.scene import Scene
from tunemax.envs.agents.training import Plan
from tunemax.gpt.errors import TunemaxError
from tunemax.search.storage import attributes
from tunemax.search.storage.database import storage_errors, study_names
from tunemax.search.storage.paths import runs_folder
from tunemax.search.storage.questions import alone

METRIC = "return"
MOST_SEED = 2**31 - 1


def study_name(scene: Scene, policy: str | None = None) -> str:
    """The study of a scene's agents, or of the tuning of a baseline; changed arguments of the environment make another
    one."""
    told = json.dumps(scene.arguments, sort_keys=True)
    absolute = ["absolute"] if scene.action == "absolute" else []
    changed = [hashlib.blake2b(told.encode(), digest_size=3).hexdigest()] if scene.arguments else []
    return "/".join(["rl", "-".join([scene.name, *absolute, *changed]), *([policy] if policy else [])])


def agent_folder(storage: RDBStorage, scene: Scene, algorithm: str, seed: int) -> Path:
    """Where an agent is trained unless `--out` says otherwise."""
    return runs_folder(str(storage.url)) / study_name(scene) / f"{algorithm}-{seed}"


def open_study(
    storage: RDBStorage, scene: Scene, policy: str | None = None, sampler: BaseSampler | None = None
) -> optuna.Study:
    """The study of a scene's agents, or of a baseline's tuning; it is created if it is missing."""
    name = study_name(scene, policy)
    with alone(storage):
        if name not in study_names(storage):
            optuna.create_study(study_name=name, storage=storage, direction="maximize")
        study = optuna.load_study(study_name=name, storage=storage, sampler=sampler)
        if attributes.SCENE not in study.user_attrs:
            if study.directions != [StudyDirection.MAXIMIZE] or study.get_trials(deepcopy=False):
                raise TunemaxError(f"study {name}: exists, and tunemax has not made it; use another storage")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                study.set_metric_names([METRIC])
            study.set_user_attr(attributes.SCENE, scene.model_dump_json())
    return study


def find_study(storage: RDBStorage, scene: Scene, policy: str | None = None) -> optuna.Study | None:
    """The same if it is there."""
    with storage_errors(storage.url):
        name = study_name(scene, policy)
        return optuna.load_study(study_name=name, storage=storage) if name in study_names(storage) else None


@dataclass(frozen=True)
class Entry:
    """The trial of one agent's training."""

    study: optuna.Study
    trial_id: int
    number: int

    @classmethod
    def of(cls, storage: RDBStorage, plan: Plan, folder: Path) -> Entry:
        """The trial of a training that is about to begin, or goes on: then the one that it had."""
        return cls.unfinished(storage, plan.scene, folder) or cls._new(storage, plan, folder)

    @classmethod
    def unfinished(cls, storage: RDBStorage, scene: Scene, folder: Path) -> Entry | None:
        """The trial of the training in a folder, set running, if it has not ended."""
        study = find_study(storage, scene)
        begun = [trial for trial in of_folder(study, folder) if not trial.state.is_finished()] if study else []
        if study is None or not begun:
            return None
        storage.set_trial_state_values(begun[-1]._trial_id, TrialState.RUNNING)
        return cls(study, begun[-1]._trial_id, begun[-1].number)

    @classmethod
    def _new(cls, storage: RDBStorage, plan: Plan, folder: Path) -> Entry:
        study = open_study(storage, plan.scene)
        fixed = {"algorithm": plan.algorithm, "seed": plan.seed}
        ranges = {"algorithm": CategoricalDistribution(ALGORITHMS), "seed": IntDistribution(0, MOST_SEED)}
        facts = {
            attributes.FOLDER: str(folder.absolute()),
            "steps": plan.steps,
            "envs": plan.envs,
            "action": plan.scene.action,
        }
        preset = {
            name: value for name, value in plan.preset.model_dump(mode="json").items() if name not in ("source", "net")
        }
        template = create_trial(
            state=TrialState.RUNNING, params=fixed, distributions=ranges, user_attrs={**facts, **preset}
        )
        trial_id = storage.create_new_trial(study._study_id, template_trial=template)
        return cls(study, trial_id, storage.get_trial(trial_id).number)

    def evaluated(self, evaluations: Iterable[Evaluation], member_steps: int) -> None:
        """Report looks at validation instances, and what the training has cost so far."""
        storage = self.study._storage
        for each in evaluations:
            storage.set_trial_intermediate_value(self.trial_id, each.steps, each.total)
        storage.set_trial_user_attr(self.trial_id, attributes.ITERATIONS, member_steps)

    def end(self, value: float, diverged: float) -> None:
        """The training is over. value: the return of its best agent. diverged: of that one, on validation instances."""
        storage = self.study._storage
        storage.set_trial_user_attr(self.trial_id, "diverged_share", diverged)
        storage.set_trial_state_values(self.trial_id, TrialState.COMPLETE, [value])

    def wait(self) -> None:
        """The training was interrupted, and waits to be gone on with."""
        self.study._storage.set_trial_state_values(self.trial_id, TrialState.WAITING)


def of_folder(study: optuna.Study, folder: Path) -> list[FrozenTrial]:
    """The trials of the agent in a folder, oldest first: one, and one more for each time that a finished training was
    prolonged."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.user_attrs.get(attributes.FOLDER) == str(folder.absolute())
    ]


def finished_folders(study: optuna.Study) -> list[Path]:
    """The folders of all agents whose training was finished, in order of algorithm and seed."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    ordered = sorted(complete, key=lambda trial: (str(trial.params["algorithm"]), int(trial.params["seed"])))
    return list(
        dict.fromkeys(
            Path(trial.user_attrs[attributes.FOLDER]) for trial in ordered if attributes.FOLDER in trial.user_attrs
        )
    )


def dearest(storage: RDBStorage, scene: Scene) -> int | None:
    """Member-steps of the dearest of a scene's finished agents, None without one: what a baseline's tuning may cost,
    too."""
    study = find_study(storage, scene)
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if study else []
    return max((int(trial.user_attrs.get(attributes.ITERATIONS, 0)) for trial in complete), default=None)
