"""Trainings of agents and tunings of baselines as trials of studies whose names begin with ``rl/``.

``rl/Constantmax-v1`` has one trial an agent's training; ``rl/Constantmax-v1/spline`` one trial a candidate of a
baseline's tuning. All are maximised: a trial's value is a mean return, log of the first validation loss over the last.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tunemax.envs.agents.file import Evaluation
from tunemax.envs.agents.scene import Scene
from tunemax.envs.agents.training import in_use
from tunemax.gpt import plugins
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.paths import lies_in
from tunemax.search.storage import attributes
from tunemax.search.storage.database import patience_of, study_id, study_names
from tunemax.search.storage.marks import mark
from tunemax.search.storage.ownership import beating, release, report
from tunemax.search.storage.paths import AGENTS, runs_folder, study_folder
from tunemax.search.storage.patience import StorageLost
from tunemax.search.storage.plugins import recorded, written
from tunemax.search.storage.questions import alone
from tunemax.search.storage.recovery import cause, reap
from tunemax.search.storage.trials import database, frozen
from tunemax.search.storage.urls import storage_errors

METRIC = "return"
MOST_SEED = 2**31 - 1


def study_name(scene: Scene, policy: str | None = None) -> str:
    """The study of a scene's agents, or of a baseline's tuning; changed arguments of the environment make another."""
    arguments = json.dumps(scene.arguments, sort_keys=True)
    absolute = ["absolute"] if scene.action == "absolute" else []
    changed = [hashlib.blake2b(arguments.encode(), digest_size=3).hexdigest()] if scene.arguments else []
    return "/".join([AGENTS, "-".join([scene.name, *absolute, *changed]), *([policy] if policy else [])])


def as_begun(storage: RDBStorage, scene: Scene) -> Scene:
    """A scene by the rules and defaults of the time when somebody first trained or tuned on it in this storage."""
    with storage_errors(storage.url):
        name = study_name(scene)
        studies = [each for each in study_names(storage) if each == name or each.startswith(f"{name}/")]
        attrs = [optuna.load_study(study_name=each, storage=storage).user_attrs for each in studies]
    known = [Scene.model_validate_json(each[attributes.SCENE]) for each in attrs if attributes.SCENE in each]
    return scene.at(min((each.schema_version for each in known), default=scene.schema_version))


def agent_folder(storage: RDBStorage, scene: Scene, algorithm: str, seed: int) -> Path:
    """Where an agent is trained unless `--out` says otherwise."""
    return study_folder(str(storage.url), f"{study_name(scene)}/{algorithm}-{seed}")


def headroom_folder(storage: RDBStorage, scene: Scene) -> Path:
    """Where a scene's headroom is kept unless `--out` says otherwise; it is the same for all forms of actions."""
    return study_folder(str(storage.url), f"{study_name(scene.moves)}/headroom")


def open_study(
    storage: RDBStorage, scene: Scene, policy: str | None = None, sampler: BaseSampler | None = None
) -> optuna.Study:
    """The study of a scene's agents, or of a baseline's tuning; it is created if it is missing.

    Raises TunemaxError for one of somebody else's, or one that was made with a plug-in that is another here.
    """
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
            if used := scene.task.config.plugins:
                study.set_user_attr(attributes.PLUGINS, written(used))
        plugins.check(recorded([study.user_attrs]), name)
    return study


def find_study(storage: RDBStorage, scene: Scene, policy: str | None = None) -> optuna.Study | None:
    """The same if it is there."""
    with storage_errors(storage.url):
        name = study_name(scene, policy)
        return optuna.load_study(study_name=name, storage=storage) if name in study_names(storage) else None


def revive(storage: RDBStorage, study: optuna.Study) -> None:
    """Let the trials of processes that are gone wait again, for whoever asks next.

    A version before trials had marks has left its own running: nobody trains in their folders any more. One without a
    mark and a folder among the runs stays as it is: somebody may have asked it with the stock command line. It counts
    nowhere.
    """
    reap(storage, [study.study_name])
    runs = runs_folder(str(storage.url))
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        folder = Path(str(trial.user_attrs.get(attributes.FOLDER, "/")))
        of_before = attributes.WORKER not in trial.user_attrs and lies_in(runs, folder)
        if of_before and folder.is_dir() and not in_use(folder):
            release(storage, trial, None)


@contextlib.contextmanager
def kept(storage: RDBStorage, trial: optuna.Trial) -> Iterator[None]:
    """Beat for a trial that this process has taken. If the block is cut short, the trial waits for the next one."""
    with beating(storage, lambda: [trial]):
        try:
            yield
        except BaseException as error:
            if not isinstance(error, Exception):  # Ctrl-C
                patience_of(storage).stop()
            with contextlib.suppress(StorageLost):  # then it waits again when nobody beats for it any more
                release(storage, trial, mark(), cause(error))
            raise


def forget(trial: optuna.Trial) -> None:
    """Remove the study of a trial of which nothing is kept, if it has no other. It need not be in reach."""
    study, storage = trial.study, database(trial.study)
    with contextlib.suppress(TunemaxError), alone(storage):
        if [each.state for each in study.get_trials(deepcopy=False)] == [TrialState.WAITING]:
            storage.delete_study(study_id(storage, study.study_name))


def evaluated(storage: RDBStorage, trial: optuna.Trial, evaluations: Iterable[Evaluation], member_steps: int) -> None:
    """Report an agent's looks at validation instances, and what its training has cost so far.

    Raises TunemaxError if the trial is not this process's any more.
    """
    reports = [(trial, each.steps, each.total) for each in evaluations]
    if not all(report(storage, mark(), reports)):
        raise TunemaxError(
            f"{trial.study.study_name}: trial {trial.number}: somebody else has finished it, or taken it over; "
            "the last save is kept, and the same command goes on"
        )
    frozen(trial).intermediate_values.update({step: value for _, step, value in reports})  # a pruner looks there
    trial.set_user_attr(attributes.ITERATIONS, member_steps)


def of_folder(study: optuna.Study, folder: Path) -> list[FrozenTrial]:
    """The trials of the agent in a folder, oldest first: one more for each time that its training was prolonged."""
    trials, name = study.get_trials(deepcopy=False), str(folder.absolute())
    return [trial for trial in trials if trial.user_attrs.get(attributes.FOLDER) == name]


def finished_folders(storage: RDBStorage, study: optuna.Study) -> tuple[list[Path], list[Path]]:
    """The folders of all agents whose training was finished, in order of algorithm and seed: those among the runs, and
    others. A database may come from somebody else, and name any folder."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    ordered = sorted(complete, key=lambda trial: (str(trial.params["algorithm"]), int(trial.params["seed"])))
    folders = [trial.user_attrs[attributes.FOLDER] for trial in ordered if attributes.FOLDER in trial.user_attrs]
    paths, runs = [Path(str(folder)) for folder in dict.fromkeys(folders)], runs_folder(str(storage.url))
    among = [path for path in paths if lies_in(runs, path)]
    return among, [path for path in paths if path not in among]


def dearest(storage: RDBStorage, scene: Scene) -> int | None:
    """Member-steps of the dearest of a scene's finished agents, which a baseline's tuning may cost, too; or None."""
    study = find_study(storage, scene)
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if study else []
    return max((int(trial.user_attrs.get(attributes.ITERATIONS, 0)) for trial in complete), default=None)
