"""The folder of an agent, as a database names it: one from somebody else may name any."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from tunemax.envs.agents.hyperparameters import ALGORITHMS
from tunemax.envs.agents.scene import Scene
from tunemax.search.cli import main
from tunemax.search.rl.trials import MOST_SEED, agent_folder, finished_folders, open_study, revive
from tunemax.search.storage import attributes
from tunemax.search.storage.database import open_storage


def test_no_folder_outside_of_the_runs_is_looked_into(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where, scene = tmp_path / "studies.db", Scene.of("Tiny-v1")
    storage = open_storage(where, create=True)
    study = open_study(storage, scene)
    ours, theirs = agent_folder(storage, scene, "ppo", 1), tmp_path / "theirs"
    (tmp_path / "link").symlink_to(ours)
    for folder in (ours, theirs):
        folder.mkdir(parents=True)
        (folder / ".lock").write_text("somebody's")
    (ours / "link").symlink_to(theirs)
    places = {TrialState.COMPLETE: (ours, theirs, ours / "link"), TrialState.RUNNING: (theirs, ours / "link", "\0", 5)}
    for state, folders in places.items():
        for folder in folders:
            study.add_trial(
                create_trial(
                    state=state,
                    value=1.0 if state == TrialState.COMPLETE else None,
                    params={"algorithm": "ppo", "seed": 1},
                    distributions={
                        "algorithm": CategoricalDistribution(ALGORITHMS),
                        "seed": IntDistribution(0, MOST_SEED),
                    },
                    user_attrs={attributes.FOLDER: folder if folder == 5 else str(folder)},
                )
            )
    assert finished_folders(storage, study) == ([ours], [theirs, ours / "link"])
    revive(storage, study)
    assert len(study.get_trials(states=(TrialState.RUNNING,))) == 4, "nobody has looked whether they are trained there"
    assert (theirs / ".lock").read_text() == "somebody's"
    (ours / ".lock").unlink()
    ours.joinpath("link").unlink()
    ours.rmdir()
    assert main(["rl", "evaluate", "--env", "Tiny-v1", "--storage", str(where)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no agent here" in line
