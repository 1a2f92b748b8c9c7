"""What was made before the folders had rooms opens and goes on: a database, snapshots, run folders, an agent.

`data/before.tar.gz` was made by the revision before the move, by the ordinary commands: a question that is finished and
confirmed, one that was interrupted, one interrupted between a cooled rung's branch and its trunk, a training that was
stopped, and an agent. `data/before.json` is what that revision itself came to when it went on from a copy. Numbers are
equal to the last digit on one machine, so a small tolerance is for other processors.
"""

import contextlib
import json
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunemax.envs.agents.agent import Agent
from tunemax.search import run_study
from tunemax.search.api import Ended
from tunemax.search.cli import main
from tunemax.search.machine.processes import WorkerSettings
from tunemax.search.storage.attributes import IDENTITY
from tunemax.search.storage.questions import Question, load_from
from tunemax.search.views.live.progress import Progress
from tunemax.search.workers.events import Event, Started

DATA = Path(__file__).parent / "data"
EXPECTED = json.loads((DATA / "before.json").read_text())
STORAGE = "tunemax.db"
AGENT = Path("runs/rl/LearningRate-v0-4eef1f/sac-1")
MODE = 0.15
"""What two modes of a training may lie apart, in nats a token."""
SIZES = ("n_layer=1", "n_head=2", "n_embd=4", "block_size=16", "batch_size=4", "dataset=text.txt")
SCENE = ["--horizon", "24", "--frame-skip", "8", *(word for size in SIZES for word in ("--set", size))]


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what was made, as the current folder."""
    with tarfile.open(DATA / "before.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    for name in ("TUNEMAX_STORAGE", "TUNEMAX_RUNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(sqlite3.connect(STORAGE)) as database, database:  # a trial of an agent names its folder
        moved = "UPDATE trial_user_attributes SET value_json = ? WHERE key = 'folder'"
        database.execute(moved, (json.dumps(str(tmp_path / AGENT)),))
    return tmp_path


def test_a_finished_question_is_ranked_and_reported(before: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, expected in EXPECTED["leaderboards"].items():
        assert main(["study", "leaderboard", name, "--json"]) == 0
        board = json.loads(capsys.readouterr().out)
        assert {entry["name"]: entry["values"] for entry in board["entries"]} == expected["entries"]
        confirmed = [entry for each in board["confirmations"] for entry in each["entries"]]
        assert {entry["candidate"]: entry["losses"] for entry in confirmed} == expected["confirmed"]
    assert main(["report", "finished"]) == 0
    assert main(["study", "run", "finished.yaml"]) == 0
    assert "went on" not in capsys.readouterr().err


@pytest.mark.parametrize(("name", "resumed"), [("interrupted", [250, 250]), ("cooled", [462])])
def test_an_interrupted_question_goes_on_from_its_snapshots(
    name: str, resumed: list[int], before: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[int] = []

    @contextlib.contextmanager
    def show(question: Question, progress: Progress, settings: WorkerSettings) -> Iterator[Callable[[Event], None]]:
        yield lambda event: begun.append(event.iteration) if isinstance(event, Started) else None

    assert run_study(name, STORAGE, show=show) == Ended()
    assert [iteration for iteration in begun if iteration] == resumed
    assert "from the start" not in capsys.readouterr().err
    apart: list[float] = []
    for study, trials in EXPECTED[name].items():
        question = load_from(STORAGE, study.partition("/")[0])
        for trial, expected in zip(question.study(study).get_trials(deepcopy=False), trials, strict=True):
            assert trial.params == pytest.approx(expected["params"], rel=1e-6)
            assert trial.user_attrs.get(IDENTITY) == expected["identity"]
            assert trial.state.name == expected["state"]
            assert trial.value is not None
            apart.append(abs(trial.value - expected["value"]))
    # A seed at the edge of stability ends in another mode where the processor rounds in another way
    assert max(apart) < MODE
    assert sum(each > 0.02 for each in apart) <= len(apart) / 4, apart


def test_a_stopped_training_goes_on(before: Path) -> None:
    assert main(["train", "--resume", "train_stopped"]) == 0
    last = json.loads(Path("train_stopped/metrics.jsonl").read_text().splitlines()[-1])
    assert last["iteration"] == 1500
    assert last["validation_loss"] == pytest.approx(EXPECTED["trained"]["validation_loss"], abs=0.02)


def acts(file: str) -> Any:
    agent = Agent.load(AGENT / file)
    width = len(agent.header.features)
    observations = (np.zeros(width), np.ones(width), np.linspace(-1, 1, width), np.linspace(1, -2, width))
    return [np.asarray(agent.act(each)).tolist() for each in observations]


def test_an_agent_acts_as_it_did_and_is_compared(before: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file, expected in EXPECTED["actions"].items():
        np.testing.assert_allclose(acts(file), expected["actions"], atol=1e-5)
    assert main(["rl", "evaluate", "--env", "LearningRate-v0", *SCENE, "--instances", "3", "--json"]) == 0
    assert "sac without feedback" in capsys.readouterr().out


def test_the_training_of_an_agent_goes_on(before: Path) -> None:
    words = ["--algo", "sac", "--seed", "1", "--envs", "4", "--round", "2", "--preset", "sac_small.yaml"]
    assert main(["rl", "train", "--env", "LearningRate-v0", *SCENE, *words, "--steps", "120"]) == 0
    for file, expected in EXPECTED["actions_at_120"].items():
        np.testing.assert_allclose(acts(file), expected["actions"], atol=0.02)
