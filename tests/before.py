"""What older revisions have made, in archives of `data/`: unpacked, gone on with, and held to what they came to then.

Beside `NAME.tar.gz` lies `NAME.json`, what the revision itself came to when it went on from a copy. Numbers are equal
to the last digit on one machine, so small tolerances are for other processors.
"""

import contextlib
import json
import sqlite3
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunemax.envs.agents.agent import Agent
from tunemax.search.storage.attributes import IDENTITY
from tunemax.search.storage.questions import load_from

DATA = Path(__file__).parent / "data"
STORAGE = "tunemax.db"
AGENT = Path("runs/rl/LearningRate-v0-4eef1f/sac-1")
MODE = 0.15
"""What two modes of a training may lie apart, in nats a token."""
SIZES = ("n_layer=1", "n_head=2", "n_embd=4", "block_size=16", "batch_size=4", "dataset=text.txt")
SCENE = ["--env", "LearningRate-v0", "--horizon", "24", "--frame-skip", "8"]
SCENE += [word for size in SIZES for word in ("--set", size)]
SAC = ["--algo", "sac", "--seed", "1", "--envs", "4", "--round", "2", "--preset", "sac_small.yaml"]


def came_to(name: str) -> Any:
    return json.loads((DATA / f"{name}.json").read_text())


def unpack(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what was made, as the current folder."""
    with tarfile.open(DATA / f"{name}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    for variable in ("TUNEMAX_STORAGE", "TUNEMAX_RUNS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(folder)
    with contextlib.closing(sqlite3.connect(STORAGE)) as database, database:  # a trial of an agent names its folder
        moved = "UPDATE trial_user_attributes SET value_json = ? WHERE key = 'folder'"
        database.execute(moved, (json.dumps(str(folder / AGENT)),))
    return folder


def check_trials(expected: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Every trial of these studies is the same training, and has come to the same."""
    apart: list[float] = []
    for study, trials in expected.items():
        question = load_from(STORAGE, study.partition("/")[0])
        for trial, before in zip(question.study(study).get_trials(deepcopy=False), trials, strict=True):
            assert trial.params == pytest.approx(before["params"], rel=1e-6)
            assert trial.user_attrs.get(IDENTITY) == before["identity"]
            assert trial.state.name == before["state"]
            assert trial.value is not None
            apart.append(abs(trial.value - before["value"]))
    # A seed at the edge of stability ends in another mode where the processor rounds in another way
    assert max(apart) < MODE
    assert sum(each > 0.02 for each in apart) <= len(apart) / 4, apart


def last_line(run: str) -> Any:
    """Of a run's log."""
    return json.loads(Path(run, "metrics.jsonl").read_text().splitlines()[-1])


def acts(file: str) -> Any:
    """What the agent does, seeing each of a few things."""
    agent = Agent.load(AGENT / file)
    width = len(agent.header.features)
    observations = (np.zeros(width), np.ones(width), np.linspace(-1, 1, width), np.linspace(1, -2, width))
    return [np.asarray(agent.act(each)).tolist() for each in observations]
