"""Processes that train agents and tune on one storage: those that live keep their trials, those that die leave them to
the next."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import FrozenTrial, TrialState
from waiting import until

from tunemax.search.cli import main
from tunemax.search.storage import attributes
from tunemax.search.storage.database import open_storage

SHORT = ["--env", "Tiny-v1", "--horizon", "12", "--frame-skip", "4", "--set", "n_embd=4"]
TRAIN = ["rl", "train", *SHORT, "--envs", "2", "--round", "2", "--algo", "ppo", "--steps", "24"]
TUNE = ["rl", "tune", *SHORT, "--policy", "constant", "--tunings", "1", "--member-steps"]
STUDY = {
    "question": "Which learning rate?",
    "environment": "Tiny-v1",
    "arguments": {"horizon": 12, "frame_skip": 4},
    "algorithm": "ppo",
    "steps": 24,
    "envs": 2,
    "round": 2,
    "trials": 2,
    "space": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
}
LOOK = "tunemax.envs.agents.training:_Training._evaluate:2"


class Helper:
    """The process that forks commands; see holding.py."""

    def __init__(self) -> None:
        words = [sys.executable, str(Path(__file__).with_name("holding.py"))]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **request: Any) -> int:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self) -> None:
        self.process.communicate()


class Command:
    """A command of tunemax in a process of its own, which may be held at a call."""

    def __init__(self, helper: Helper, folder: Path, words: tuple[str, ...], where: str | None) -> None:
        self._helper = helper
        self._gate, self._out = (folder / f"{name}-{len(list(folder.iterdir()))}" for name in ("gate", "out"))
        os.mkfifo(self._gate)
        paths = {"folder": str(folder), "out": str(self._out), "gate": str(self._gate)}
        self.pid = helper.ask(words=words, where=where, storage=str(folder / "studies.db"), **paths)
        self.status: int | None = None

    @property
    def said(self) -> str:
        return self._out.read_text() if self._out.exists() else ""

    def wait_for(self, text: str) -> None:
        until(lambda: text in self.said)

    def wait(self) -> int:
        """Until it has ended; its exit status."""
        if self.status is None:
            self.status = self._helper.ask(wait=self.pid)
        return self.status

    def go_on(self) -> int:
        """Past the call at which it was held, to its end."""
        self._gate.open("w").close()
        return self.wait()

    def kill(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()


Hold = Callable[..., Command]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNEMAX_STORAGE", str(tmp_path / "studies.db"))


@pytest.fixture(scope="module")
def helper(data_folder: Path) -> Iterator[Helper]:
    helper = Helper()
    yield helper
    helper.end()


@pytest.fixture
def start(helper: Helper, tmp_path: Path) -> Iterator[Hold]:
    """Start a command; `where` says at which call it is to stop."""
    begun: list[Command] = []

    def start(*words: str, where: str | None = None) -> Command:
        begun.append(Command(helper, tmp_path, words, where))
        return begun[-1]

    yield start
    for command in begun:
        command.kill()


@pytest.fixture
def hold(start: Hold) -> Hold:
    """Start a command that stops at a call, and wait until it has."""

    def held(where: str, *words: str) -> Command:
        command = start(*words, where=where)
        command.wait_for("held")
        return command

    return held


def trials() -> list[FrozenTrial]:
    storage = open_storage("studies.db", create=False)
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).get_trials()


def write(statement: str) -> None:
    with contextlib.closing(sqlite3.connect("studies.db")) as connection, connection:
        connection.execute(statement)


def is_run_by(trial: FrozenTrial, process: Command) -> bool:
    mark = str(trial.user_attrs.get(attributes.WORKER))
    return trial.state == TrialState.RUNNING and mark.split(":")[1] == str(process.pid)


# ---- training --------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_living_training_keeps_its_trial_and_ends_it(hold: Hold, capsys: pytest.CaptureFixture[str]) -> None:
    process = hold(LOOK, *TRAIN)
    assert main(TRAIN) == 2
    assert "another process trains an agent here" in capsys.readouterr().err
    assert main([*TRAIN, "--seed", "2"]) == 0
    first, second = trials()
    assert is_run_by(first, process)
    assert second.state == TrialState.COMPLETE
    assert process.go_on() == 0
    assert [trial.state for trial in trials()] == [TrialState.COMPLETE] * 2
    assert list(trials()[0].intermediate_values) == [12, 24]


def test_a_killed_training_goes_on_under_its_trial(hold: Hold) -> None:
    hold(LOOK, *TRAIN).kill()
    assert main(TRAIN) == 0
    (trial,) = trials()
    assert trial.state == TrialState.COMPLETE
    assert list(trial.intermediate_values) == [12, 24]
    assert trial.user_attrs[attributes.FAILURES] == [{"iteration": 12, "reason": "its process was gone"}]


@pytest.mark.long
def test_a_training_that_was_killed_before_its_trial_ended_is_ended(hold: Hold) -> None:
    hold("tunemax.search.rl.train:finish:1", *TRAIN).kill()
    assert main(TRAIN) == 0
    (trial,) = trials()
    assert trial.state == TrialState.COMPLETE
    assert trial.value == max(trial.intermediate_values.values())


@pytest.mark.long
def test_a_training_elsewhere_is_left_alone_while_it_beats(hold: Hold, capsys: pytest.CaptureFixture[str]) -> None:
    hold(LOOK, *TRAIN).kill()
    write(f"UPDATE trial_user_attributes SET value_json = '\"elsewhere:1:1\"' WHERE key = '{attributes.WORKER}'")
    assert main(TRAIN) == 2
    assert "another process trains an agent here; wait for it" in capsys.readouterr().err
    assert trials()[0].state == TrialState.RUNNING
    write("UPDATE trial_heartbeats SET heartbeat = datetime('now', '-1 hour')")
    assert main(TRAIN) == 0
    (trial,) = trials()
    assert trial.state == TrialState.COMPLETE
    assert trial.user_attrs[attributes.FAILURES][0]["reason"].startswith("no heartbeat from elsewhere for ")


@pytest.mark.long
def test_a_training_whose_trial_somebody_has_ended_stops_with_its_last_save(hold: Hold) -> None:
    process = hold(LOOK, *TRAIN)
    storage = open_storage("studies.db", create=False)
    (name,) = optuna.get_all_study_names(storage)
    optuna.load_study(study_name=name, storage=storage).tell(0, state=TrialState.FAIL)
    assert process.go_on() == 2
    assert trials()[0].state == TrialState.FAIL
    assert main(TRAIN) == 0
    assert len(trials()) == 1, "it had been trained to its end"


@pytest.mark.long
def test_a_trial_without_a_mark_goes_on_where_nobody_trains_in_its_folder(hold: Hold) -> None:
    """Versions before trials had marks have left them so."""
    process = hold(LOOK, *TRAIN)
    write(f"DELETE FROM trial_user_attributes WHERE key = '{attributes.WORKER}'")
    assert main([*TRAIN, "--seed", "2"]) == 0
    assert trials()[0].state == TrialState.RUNNING, "its process lives"
    process.kill()
    assert main(TRAIN) == 0
    assert [trial.state for trial in trials()] == [TrialState.COMPLETE] * 2


# ---- tuning ----------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_candidate_of_a_living_tuning_is_left_alone_and_one_of_a_killed_is_asked_again(hold: Hold) -> None:
    process = hold("tunemax.search.rl.baselines:run:2", *TUNE, "1152")
    before = trials()[1]
    assert before.params
    assert main([*TUNE, "1152"]) == 0
    assert is_run_by(trials()[1], process)
    assert {trial.state for trial in trials() if trial.number != 1} == {TrialState.COMPLETE}
    process.kill()
    assert main([*TUNE, "2000"]) == 0
    after = trials()[1]
    assert {trial.state for trial in trials()} == {TrialState.COMPLETE}
    assert after.params == before.params
    assert after.user_attrs[attributes.FAILURES] == [{"iteration": 0, "reason": "its process was gone"}]


def test_a_candidate_that_was_asked_with_the_stock_tools_is_left_alone() -> None:
    assert main([*TUNE, "1152"]) == 0
    storage = open_storage("studies.db", create=False)
    (name,) = optuna.get_all_study_names(storage)
    asked = optuna.load_study(study_name=name, storage=storage).ask().number
    assert main([*TUNE, "2000"]) == 0
    assert {trial.number for trial in trials() if trial.state == TrialState.RUNNING} == {asked}


def test_candidates_of_a_study_are_shared_out_and_the_last_process_sees_to_all(hold: Hold, start: Hold) -> None:
    Path("rl_tiny.yaml").write_text(yaml.safe_dump(STUDY))
    process = hold(LOOK, "rl", "study", "rl_tiny.yaml")
    other = start("rl", "study", "rl_tiny.yaml")
    other.wait_for("waiting for 1 candidate that other processes train")
    first, second = trials()
    assert is_run_by(first, process)
    assert second.state == TrialState.COMPLETE
    process.kill()
    assert other.wait() == 0
    assert "The best hyperparameters are in" in other.said
    again, _ = trials()
    assert again.state == TrialState.COMPLETE
    assert again.params == first.params
    assert list(again.intermediate_values) == [12, 24]
