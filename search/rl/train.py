"""The training of an agent as a trial: reported while it goes, ended once, put back when it is interrupted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial

from tunemax.envs.agents.file import Evaluation
from tunemax.envs.agents.hyperparameters import ALGORITHMS
from tunemax.envs.agents.training import Plan, Trained, last_of, train_agent
from tunemax.gpt.errors import TunemaxError
from tunemax.search.rl.trials import MOST_SEED, evaluated, find_study, forget, kept, of_folder, open_study, revive
from tunemax.search.storage import attributes
from tunemax.search.storage.cache import PendingWrites
from tunemax.search.storage.marks import mark
from tunemax.search.storage.ownership import finish, take
from tunemax.search.storage.trials import live


def learn(
    storage: RDBStorage,
    plan: Plan,
    folder: Path,
    report: Callable[[Evaluation, int], None],
    stepped: Callable[[int], None],
) -> Trained:
    """Train an agent, or go on with one, under its trial in the study of its scene.

    report: told each look at validation instances, and the member-steps so far. stepped: told the steps so far, often.
    Whatever cuts it short leaves the trial waiting for the next call; an interrupt before anything was saved leaves no
    study of this trial alone. A training that was finished before changes
    nothing. Raises TunemaxError if the folder's trial is another process's, before it trains or while it does.
    """
    trial: optuna.Trial | None = None
    if study := find_study(storage, plan.scene):
        revive(storage, study)
    try:
        with contextlib.ExitStack() as stack:

            def begun(steps: int) -> None:
                nonlocal trial
                if trial is None:  # not before the folder is known to be ours
                    trial = _begin(storage, plan, folder)
                    stack.enter_context(kept(storage, trial))
                stepped(steps)

            def looked(evaluation: Evaluation) -> bool:
                header = last_of(folder)
                assert trial is not None
                assert header is not None
                evaluated(storage, trial, header.evaluations, header.spent.member_steps)
                report(evaluation, header.spent.member_steps)
                return False

            trained = train_agent(plan, folder, looked, begun)
            if trial is None and not _has_ended(study, plan, folder):
                # killed between its last save and its end; or the database has lost it
                trial = _begin(storage, plan, folder)
            if trial:
                evaluated(storage, trial, trained.evaluations, trained.spent.member_steps)
                best, learning = trained.best_evaluation, trained.learning
                told = {"learned": learning.learned, "learning": learning.sentence} if learning else {}
                shares = {"diverged_share": best.diverged, "entropy_share": best.entropy_share}
                writes = PendingWrites(user={**shares, **told})
                finish(storage, trial, mark(), TrialState.COMPLETE, best.total, writes)
    except KeyboardInterrupt:
        if trial is not None and last_of(folder) is None:
            forget(trial)
        raise
    return trained


def state_of(found: Evaluation) -> str:
    """How an algorithm is at a look, in words: `entropy 0.41 (8 % of Q)  critic loss 0.05`."""
    told = []
    if found.entropy is not None:
        share = "" if found.entropy_share is None else f" ({100 * found.entropy_share:.2g} % of Q)"
        told.append(f"entropy {found.entropy:.2f}{share}")
    return "  ".join([*told, *(f"{name.replace('_', ' ')} {value:.3g}" for name, value in found.losses.items())])


def _begin(storage: RDBStorage, plan: Plan, folder: Path) -> optuna.Trial:
    """The trial of a training that is about to begin, or goes on: then the one that it had."""
    study = open_study(storage, plan.scene)
    if any(trial.state == TrialState.RUNNING for trial in of_folder(study, folder)):
        raise TunemaxError(f"{folder}: another process trains an agent here; wait for it, or choose another --out")
    trial = _unfinished(storage, study, folder)
    while trial is None:
        study.add_trial(
            create_trial(
                state=TrialState.WAITING,  # to be taken with a mark
                params={"algorithm": plan.algorithm, "seed": plan.seed},
                distributions={
                    "algorithm": CategoricalDistribution(ALGORITHMS),
                    "seed": IntDistribution(0, MOST_SEED),
                },
                user_attrs={
                    attributes.FOLDER: str(folder.absolute()),
                    "steps": plan.steps,
                    "envs": plan.envs,
                    "action": plan.scene.action,
                    **plan.preset.model_dump(mode="json", exclude={"source", "net"}),
                },
            )
        )
        trial = _unfinished(storage, study, folder)
    return trial


def _has_ended(study: optuna.Study | None, plan: Plan, folder: Path) -> bool:
    """Whether the storage knows of a training in a folder, of so many steps at least, that has ended."""
    trials = of_folder(study, folder) if study else []
    return any(
        trial.state.is_finished() and trial.user_attrs.get("steps", plan.steps) >= plan.steps for trial in trials
    )


def _unfinished(storage: RDBStorage, study: optuna.Study, folder: Path) -> optuna.Trial | None:
    """The trial of the training in a folder, taken, if one waits."""
    for trial in reversed(of_folder(study, folder)):
        if take(storage, trial, mark()):
            return live(study, trial)
    return None
