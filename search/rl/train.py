"""The training of an agent as a trial: reported while it goes, ended once, put back when it is interrupted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from optuna.storages import RDBStorage

from tunemax.envs.agents.file import Evaluation
from tunemax.envs.agents.training import Plan, Trained, last_of, train_agent
from tunemax.search.rl.trials import Entry


def learn(
    storage: RDBStorage,
    plan: Plan,
    folder: Path,
    report: Callable[[Evaluation, int], None],
    stepped: Callable[[int], None],
) -> Trained:
    """Train an agent, or go on with one, under its trial in the study of its scene.

    report: told each look at validation instances, and the member-steps so far. stepped: told the steps so far, often.
    An interrupt leaves the trial waiting for the next call. A training that was finished before changes nothing.
    """
    entry: Entry | None = None

    def begun(steps: int) -> None:
        nonlocal entry
        entry = entry or Entry.of(storage, plan, folder)  # not before the folder is known to be ours
        stepped(steps)

    def looked(found: Evaluation) -> bool:
        header = last_of(folder)
        assert entry is not None
        assert header is not None
        entry.evaluated(header.evaluations, header.spent.member_steps)
        report(found, header.spent.member_steps)
        return False

    try:
        trained = train_agent(plan, folder, looked, begun)
    except KeyboardInterrupt:
        if entry:
            entry.wait()
        raise
    entry = entry or Entry.unfinished(storage, plan.scene, folder)  # killed between its last save and its end
    if entry:
        entry.evaluated(trained.evaluations, trained.spent.member_steps)
        entry.end(trained.best_evaluation.total, trained.best_evaluation.diverged)
    return trained
