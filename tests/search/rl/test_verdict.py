"""A verdict says wins, losses and ties as they are, at what price, and keeps every run."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunemax.envs.agents.scene import Scene
from tunemax.envs.instances import find_set
from tunemax.envs.rollouts import Outcome
from tunemax.envs.steering import Past
from tunemax.search.cli import main
from tunemax.search.rl import contest
from tunemax.search.rl.baselines import Tuned
from tunemax.search.rl.contest import Contender, Contest, Role
from tunemax.search.rl.report import write
from tunemax.search.rl.verdict import Verdict, judge

COUNT = 12
SCENE = Scene.of("Tiny-v1")
LUCK = np.random.default_rng(1).normal(0, 0.01, COUNT)
"""Of each instance; both sides of a pair share it."""


def outcome(index: int, loss: float, *, soon: int = 20, diverged: bool = False) -> Outcome:
    """An episode of 20 iterations that has its last loss at iteration `soon` already."""
    history = [
        Past(at, loss if at >= soon else 9.0, 1.0, {"learning_rate": 0.01, "gain": -4.0}, (), ())
        for at in range(0, 21, 2)
    ]
    return Outcome(f"test/{index}", 0.5, loss, loss, diverged, 20, tuple(history))


def runs(
    loss: float, *seeds: int, name: str = "sac", soon: int = 20, noise: float = 0.002
) -> dict[str, Sequence[Outcome]]:
    scatter = np.random.default_rng(round(loss * 1000)).normal(0, noise, (max(1, len(seeds)), COUNT))
    labels = [f"{name} {seed}" for seed in seeds] or [name]
    return {
        label: [outcome(i, loss + float(LUCK[i] + scatter[row, i]), soon=soon) for i in range(COUNT)]
        for row, label in enumerate(labels)
    }


def contender(
    name: str, loss: float, role: Role = "baseline", cost: int = 1000, seeds: Sequence[int] = (), **more: Any
) -> Contender:
    return Contender(name, role, cost, runs(loss, *seeds, name=name, **more))


def verdict(*contenders: Contender, costs: int = 1000) -> Verdict:
    instances = [find_set("test").draw(SCENE.task, index) for index in range(COUNT)]
    tuned = {name: Tuned(name, 0, [], 0.5, costs) for name in ("constant", "spline")}
    return judge(Contest(SCENE, "test", instances, contenders, tuned))


def test_a_win_is_told_with_its_price() -> None:
    found = verdict(
        contender("constant", 2.0),
        contender("spline", 1.95),
        contender("sac", 1.8, "agent", seeds=(1, 2, 3), soon=10),
        costs=1000,
    )
    told = " ".join(found.sentences)
    assert "sac is 10.0 % better than constant in test loss (95 % interval" in told
    assert "better than spline in test loss" in told
    assert "12 instances), at 20 iterations of a 1×8 model on python_stdlib." in told
    assert "To train one agent of sac has cost 1,000 member-steps: paid back after 100 runs" in told
    line = found.lines[0]
    assert (line.name, line.reach.share if line.reach else None) == ("sac", 0.5)
    assert line.ahead_of_static is not None
    assert line.ahead_of_static.mean == 1
    assert found.remarks[0] == "Equal compute: every tuned baseline has had at least the member-steps of one agent."


def test_a_loss_is_told_as_plainly() -> None:
    found = verdict(
        contender("constant", 2.0), contender("spline", 1.9), contender("sac", 2.1, "agent", seeds=(1, 2, 3))
    )
    told = " ".join(found.sentences)
    assert "sac is 5.0 % worse than constant in test loss" in told
    assert "worse than spline in test loss" in told
    assert "never paid back" in told
    reach = found.lines[0].reach
    assert reach is not None
    assert (reach.reached.count, reach.steps, reach.share) == (0, 0, 0), "what is never reached saves nothing"
    assert "little about the next one" not in told


def test_the_best_schedule_is_the_one_that_validation_instances_like_best() -> None:
    returns = {"constant": 0.9, "spline": 0.5, "warmup_cosine": 0.7}
    tuned = {name: Tuned(name, 0, [], validation, 1000) for name, validation in returns.items()}
    assert Contest(SCENE, "test", [], [], tuned).schedule == "warmup_cosine"


def test_a_tie_is_a_tie() -> None:
    found = verdict(
        contender("constant", 2.0, noise=0.05),
        contender("spline", 2.0005),
        contender("sac", 2.001, "agent", seeds=(1,), noise=0.05),
    )
    told = " ".join(found.sentences)
    assert "sac and constant tie in test loss" in told
    assert "1 seed of it says little about the next one" in told


def test_a_baseline_that_had_less_than_an_agent_is_named() -> None:
    found = verdict(
        contender("constant", 2.0, cost=10),
        contender("spline", 1.9),
        contender("sac", 1.8, "agent", cost=500, seeds=(1,)),
    )
    assert found.remarks[0].startswith("Unequal compute: constant had less than the 500 member-steps of an agent")


def test_ablations_are_beside_their_own_agent_only() -> None:
    found = verdict(
        contender("constant", 2.0),
        contender("spline", 1.9),
        contender("sac", 1.8, "agent", seeds=(1,)),
        contender("sac without feedback", 1.9, "ablation", seeds=(1,)),
        contender("ppo", 1.85, "agent", seeds=(1,)),
    )
    assert [(each.name, each.reference, each.verdict) for each in found.ablations] == [
        ("sac without feedback", "sac", "worse")
    ]
    assert [line.name for line in found.lines] == ["sac", "ppo", "spline", "constant", "sac without feedback"]
    assert all(line.versus_static is None for line in found.lines if line.role == "ablation")


def test_without_an_agent_there_is_nothing_to_say() -> None:
    assert verdict(contender("constant", 2.0)).sentences == (
        "Nothing can be said without an agent and a tuned baseline.",
    )


def test_the_report_has_every_run(tmp_path: Path) -> None:
    found = verdict(contender("constant", 2.0), contender("spline", 1.9), contender("sac", 1.8, "agent", seeds=(1, 2)))
    paths = {path.name: path for path in write(found, tmp_path)}
    rows = list(csv.DictReader(paths["runs.csv"].read_text().splitlines()))
    assert len(rows) == 4 * COUNT
    assert {row["run"] for row in rows} == {"constant", "spline", "sac 1", "sac 2"}
    told = json.loads(paths["verdict.json"].read_text())
    assert [line["name"] for line in told["lines"]] == ["sac", "spline", "constant"]
    assert "| sac | 1.8" in paths["verdict.md"].read_text()
    assert paths["gain.svg"].read_text().startswith("<svg ")
    assert 'xmlns="http://www.w3.org/2000/svg"' in paths["learning_rate.svg"].read_text()


# ----------------------------------------------------------------------------------------------------- the command line

SHORT = ["--env", "Tiny-v1", "--horizon", "12", "--frame-skip", "4", "--set", "n_embd=4"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNEMAX_STORAGE", str(tmp_path / "studies.db"))
    return tmp_path


def test_evaluate_compares_what_is_there_and_goes_on_where_it_was_cut(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["rl", "train", *SHORT, "--algo", "ppo", "--steps", "12", "--envs", "2", "--round", "2"]) == 0
    assert main(["rl", "tune", *SHORT, "--policy", "constant", "--member-steps", "1152"]) == 0
    capsys.readouterr()
    asked = ["rl", "evaluate", *SHORT, "--instances", "2"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    for name in ("ppo", "constant", "static", "left_to_sgd", "population", "ppo without progress"):
        assert f"\n{name} " in said
    assert "The report is in" in said

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("was run already")

    for name in ("run", "left_to_sgd", "population"):
        monkeypatch.setattr(contest, name, never)
    assert main([*asked, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["lines"][0]["cost"] == 12 * 4 + 16 * 12


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--env", "Tiny-v1"],
            "neither an agent nor a tuned baseline is there to be compared; begin with tunemax rl train --env Tiny-v1",
        ),
        (["--env", "Tiny-v1", "--sets", "tests"], "set = tests: no such set of instances; did you mean `test`?"),
        (["--env", "Tiny-v1", "--sets", "larger", "--instances", "65"], "--instances = 65: set larger has 64"),
        (["--env", "Tiny-v1", "nowhere"], "nowhere: no agent here"),
    ],
)
def test_mistakes_are_told(words: list[str], message: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tunemax.search.storage.database import open_storage

    open_storage("studies.db", create=True)
    assert main(["rl", "evaluate", *words]) == 2
    assert message in capsys.readouterr().err
