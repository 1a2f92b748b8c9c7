"""What was made before the recipe changed trains on as it would have: the defaults of then are its defaults.

`data/before_recipe.tar.gz` was made by the last revision with the older recipe, by the ordinary commands: `waiting`, of
which one trial is complete, one interrupted, and four wait; `finished`, tuned and neither confirmed nor repeated to its
end; a training that was stopped; an agent, and a baseline's tuning with a candidate that waits. None of them names the
fields whose defaults have changed.
"""

import json
import re
from pathlib import Path

import numpy as np
import optuna
import pytest
from before import AGENT, SAC, SCENE, STORAGE, acts, came_to, check_trials, last_line, unpack

from tunemax.gpt.defaults import UNTIL
from tunemax.search import run_study
from tunemax.search.api import Ended
from tunemax.search.cli import main

EXPECTED = came_to("before_recipe")
KEPT = "Begun when other defaults held, and goes on with those: "


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return unpack("before_recipe", tmp_path, monkeypatch)


def trials(question: str) -> dict[str, list[dict[str, object]]]:
    """What the studies of a question, of its repeats and of their confirmations came to."""
    return {name: found for name, found in EXPECTED["trials"].items() if re.match(rf"{question}\b", name)}


def check_run(folder: str, expected: dict[str, object]) -> None:
    assert json.loads(Path(folder, "config.json").read_text())["identity"] == expected["identity"]
    assert last_line(folder)["validation_loss"] == pytest.approx(expected["validation_loss"], abs=0.02)


def test_waiting_trials_train_as_they_would_have(before: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By their unchanged file, whose `default` ranges are those of then, too."""
    assert main(["study", "run", "waiting.yaml"]) == 0
    (told,) = [line for line in capsys.readouterr().err.splitlines() if KEPT in line]
    searched = ("learning_rate", "warmup_fraction")
    kept = [f"{name} {value}" for name, value in UNTIL[2].items() if name not in searched]
    assert told == f"waiting: {KEPT}{', '.join(kept)}."
    check_trials(trials("waiting"))


def test_a_finished_question_is_repeated_and_confirmed_as_it_was_tuned(before: Path) -> None:
    assert run_study("finished", STORAGE) == Ended()
    check_trials(trials("finished"))


def test_a_winner_is_trained_again(before: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the database, and by the command that is printed, which names what defaults say no more."""
    assert main(["train", "--from", "finished", "--out_dir", "taken"]) == 0
    capsys.readouterr()
    assert main(["study", "best", "finished", "--json"]) == 0
    tunemax, *words = json.loads(capsys.readouterr().out)["command"]
    assert tunemax == "tunemax"
    assert main([*words, "--out_dir", "typed"]) == 0
    for folder in ("taken", "typed"):
        check_run(folder, EXPECTED["from"])


def test_a_stopped_training_goes_on(before: Path) -> None:
    assert main(["train", "--resume", "train_stopped"]) == 0
    check_run("train_stopped", EXPECTED["trained"])


@pytest.mark.long
def test_an_agent_steers_and_learns_on(before: Path) -> None:
    for file, expected in EXPECTED["actions"].items():
        np.testing.assert_allclose(acts(file), expected, atol=1e-5)
    words = ["--seed", "3", "--out_dir", "steered", "--no-tensorboard"]
    assert main(["rl", "steer", str(AGENT), *words]) == 0
    check_run("steered", EXPECTED["steered"])
    assert main(["rl", "train", *SCENE, *SAC, "--steps", "96"]) == 0
    for file, expected in EXPECTED["actions_at_96"].items():
        np.testing.assert_allclose(acts(file), expected, atol=0.02)


@pytest.mark.long
def test_the_tuning_of_a_baseline_goes_on(before: Path) -> None:
    """With the candidates of then. What they come to is another thing now: a schedule is there in one step, and its
    warm-up, which walked at most a factor of 1.5 a step, begins at the bottom."""
    expected = EXPECTED["tuned"]
    study = optuna.load_study(study_name=expected["study"], storage=f"sqlite:///{STORAGE}")
    there = len([trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()])
    words = ["--policy", "warmup_cosine", "--tunings", "1", "--member-steps", "3500"]
    assert main(["rl", "tune", *SCENE, *words]) == 0
    trials = study.get_trials(deepcopy=False)
    assert 0 < there < len(trials)
    for number, (trial, then) in enumerate(zip(trials, expected["trials"], strict=True)):
        assert trial.value is not None
        if number <= there:  # later ones follow from the values of these
            assert trial.params == pytest.approx(then["params"], rel=1e-6)
        if number < there:
            assert trial.value == pytest.approx(then["value"], abs=0.02)
