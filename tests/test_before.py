"""What was made before the folders had rooms opens and goes on: a database, snapshots, run folders, an agent.

`data/before.tar.gz` was made by the revision before the move, by the ordinary commands: a question that is finished and
confirmed, one that was interrupted, one interrupted between a cooled rung's branch and its trunk, a training that was
stopped, and an agent.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from before import SAC, SCENE, STORAGE, acts, came_to, check_trials, last_line, unpack

from tunemax.search import run_study
from tunemax.search.api import Ended
from tunemax.search.cli import main
from tunemax.search.machine.processes import WorkerSettings
from tunemax.search.storage.questions import Question
from tunemax.search.views.live.progress import Progress
from tunemax.search.workers.events import Event, Started

EXPECTED = came_to("before")


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return unpack("before", tmp_path, monkeypatch)


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
    check_trials(EXPECTED[name])


def test_a_stopped_training_goes_on(before: Path) -> None:
    assert main(["train", "--resume", "train_stopped"]) == 0
    last = last_line("train_stopped")
    assert last["iteration"] == 1500
    assert last["validation_loss"] == pytest.approx(EXPECTED["trained"]["validation_loss"], abs=0.02)


@pytest.mark.long
def test_an_agent_acts_as_it_did_and_is_compared(before: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file, expected in EXPECTED["actions"].items():
        np.testing.assert_allclose(acts(file), expected["actions"], atol=1e-5)
    assert main(["rl", "evaluate", *SCENE, "--instances", "3", "--json"]) == 0
    assert "sac without feedback" in capsys.readouterr().out


@pytest.mark.long
def test_the_training_of_an_agent_goes_on(before: Path) -> None:
    assert main(["rl", "train", *SCENE, *SAC, "--steps", "120"]) == 0
    for file, expected in EXPECTED["actions_at_120"].items():
        np.testing.assert_allclose(acts(file), expected["actions"], atol=0.02)
