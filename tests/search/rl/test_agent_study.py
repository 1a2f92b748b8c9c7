"""Hyperparameters of agents are tuned by trainings that can be stopped, cut short and gone on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import FrozenTrial, TrialState

from tunemax.envs.agents import hyperparameters
from tunemax.envs.agents.training import Plan
from tunemax.gpt.errors import TunemaxError
from tunemax.search.cli import main
from tunemax.search.rl import agent_study
from tunemax.search.rl.agent_study import read
from tunemax.search.storage import attributes
from tunemax.search.storage.database import open_storage

ROOT = Path(__file__).parents[3]
PLAIN: dict[str, Any] = {
    "question": "Which learning rate?",
    "environment": "Tiny-v1",
    "arguments": {"horizon": 12, "frame_skip": 4},
    "algorithm": "ppo",
    "steps": 24,
    "envs": 2,
    "round": 2,
    "trials": 2,
    "startup": 1,
    "space": {
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "n_epochs": {"low": 1, "high": 3},
        "batch_size": [4, 8],
    },
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def make(**changes: Any) -> Path:
        path = tmp_path / "rl_tiny.yaml"
        path.write_text(
            yaml.safe_dump({key: value for key, value in {**PLAIN, **changes}.items() if value is not None})
        )
        return path

    return make


def trials(path: Path) -> list[FrozenTrial]:
    storage = open_storage(path.with_name("tunemax.db"), create=False)
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).get_trials()


def test_candidates_are_trials_and_the_best_is_a_preset(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write()
    assert main(["rl", "study", str(path)]) == 0
    said = capsys.readouterr().out
    found = trials(path)
    assert [trial.state for trial in found if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)] == [
        trial.state for trial in found
    ]
    assert all({"learning_rate", "n_epochs", "batch_size"} == set(trial.params) for trial in found)
    assert all(trial.user_attrs[attributes.ITERATIONS] > 0 for trial in found)
    preset = hyperparameters.load("ppo", Path(said.rpartition("--preset ")[2].strip()))
    best = max((trial for trial in found if trial.state == TrialState.COMPLETE), key=lambda trial: trial.value or 0.0)
    assert preset.learning_rate == best.params["learning_rate"]
    assert preset.source.startswith(f"trial {best.number} of rl/Tiny-v1-")
    assert main(["rl", "study", str(path)]) == 0
    assert len(trials(path)) == len(found)


def test_a_candidate_that_is_behind_is_stopped(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda self: self.number > 0)
    path = write()
    assert main(["rl", "study", str(path)]) == 0
    first, second = trials(path)
    assert (first.state, second.state) == (TrialState.COMPLETE, TrialState.PRUNED)
    assert list(second.intermediate_values) == [12]


def test_an_interrupted_candidate_goes_on_with_the_same_hyperparameters(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = agent_study.train_agent

    def interrupted(plan: Plan, folder: Path, report: Callable[..., bool]) -> Any:
        real(Plan(**{**vars(plan), "steps": 12}), folder, report)
        raise KeyboardInterrupt

    path = write(trials=1)
    monkeypatch.setattr(agent_study, "train_agent", interrupted)
    assert main(["rl", "study", str(path)]) == 130
    assert "go on with tunemax rl study" in capsys.readouterr().err
    (before,) = trials(path)
    assert before.state == TrialState.WAITING
    monkeypatch.setattr(agent_study, "train_agent", real)
    assert main(["rl", "study", str(path)]) == 0
    (after,) = trials(path)
    assert after.state == TrialState.COMPLETE
    assert after.params == before.params
    assert list(after.intermediate_values) == [12, 24]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps = 0: expected a number ≥ 1"),
        ({"trials": None}, "trials: missing"),
        ({"algorithm": "sca"}, "algorithm = sca"),
        ({"environment": "Tiny-v9"}, "environment Tiny-v9: no such id"),
        ({"space": {"tau": [1]}}, "space.tau: no such hyperparameter"),
        ({"space": {"gama": [1]}}, "space.gama: no such hyperparameter; did you mean `gamma`"),
        ({"space": {"gamma": {"low": 1, "high": 0}}}, "1 to 0 is no range"),
        ({"colour": "red"}, "colour: no such name here"),
    ],
)
def test_mistakes_are_told(changes: dict[str, Any], message: str, write: Callable[..., Path]) -> None:
    with pytest.raises(TunemaxError) as caught:
        read(write(**changes))
    assert message in str(caught.value)


def test_the_study_that_comes_along_can_be_read() -> None:
    asked = read(ROOT / "studies/rl_constantmax.yaml")
    assert asked.scene.id == "tunemax/Constantmax-v1"
    assert asked.steps * asked.scene.task.frame_skip == 128_000
