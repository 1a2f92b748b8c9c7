"""An agent steers a normal run as it steers an episode; its run is a run like any other, but for going on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tunemax.envs.agents import hyperparameters
from tunemax.envs.agents.agent import Agent
from tunemax.envs.agents.controller import Pilot
from tunemax.envs.agents.scene import Scene
from tunemax.envs.agents.training import Plan, train_agent
from tunemax.envs.instances import Instance
from tunemax.envs.rollouts import run
from tunemax.gpt import run as runs
from tunemax.gpt.errors import TunemaxError


@pytest.fixture
def agent(short: dict[str, Any], tmp_path: Path) -> Agent:
    plan = Plan(
        Scene.of("Tiny-v1", **short),
        "ppo",
        hyperparameters.load("ppo"),
        seed=1,
        steps=12,
        envs=4,
        round=1,
        validation=1,
        checked=1,
    )
    return Agent.load(train_agent(plan, tmp_path / "agent").best)


def steer(agent: Agent, folder: Path, every: int | None = None, **fields: Any) -> tuple[Pilot, runs.Result]:
    given = {"out_dir": str(folder), "eval_interval": 4, "eval_iters": 2, "log_interval": 100, **fields}
    pilot = Pilot(agent, given, every)
    return pilot, runs.train(pilot.config, lambda row: None, pilot)


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    board = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in board.Scalars(tag)] for tag in board.Tags()["scalars"]}


def test_a_steered_run_is_the_episode_of_the_same_training(agent: Agent, tmp_path: Path) -> None:
    seen: list[npt.NDArray[np.float32]] = []

    class Watched:
        def act(self, observation: npt.ArrayLike) -> npt.NDArray[np.float64]:
            seen.append(np.array(observation))
            return agent.act(observation)

    (episode,) = run(agent.task, [Instance("own", seed=7, data=(0.0, 1.0), horizon=12)], Watched())
    pilot, result = steer(agent, tmp_path / "run", seed=7)
    assert pilot.every == 4
    assert result.iteration == 12
    moved = curves(tmp_path / "run")["controls/learning_rate"]
    assert [at for at, _ in moved] == [0, 4, 8]
    controls = [past.controls["learning_rate"] for past in episode.history[1:]]
    assert [value for _, value in moved] == pytest.approx(controls, rel=1e-6)
    assert {"controls/gain", "loss/validation"} <= set(curves(tmp_path / "run"))


def test_a_longer_run_has_as_many_moves_unless_told_otherwise(agent: Agent, tmp_path: Path) -> None:
    pilot, result = steer(agent, tmp_path / "long", max_iters=50)
    assert (pilot.every, result.iteration) == (16, 50)
    assert [at for at, _ in curves(tmp_path / "long")["controls/gain"]] == [0, 16, 32, 48]
    assert [row.iteration for row in result.rows] == [*range(4, 51, 4), 50]
    steer(agent, tmp_path / "often", max_iters=50, every=25)
    assert [at for at, _ in curves(tmp_path / "often")["controls/gain"]] == [0, 25]


def test_a_steered_run_cannot_be_resumed(agent: Agent, tmp_path: Path) -> None:
    steer(agent, tmp_path / "run")
    with pytest.raises(
        TunemaxError, match=r"steered by agent ppo 1 of tunemax/Tiny-v1, and such a run cannot be resumed"
    ):
        runs.resume(tmp_path / "run", {"max_iters": 24}, lambda row: None)


def test_a_training_without_the_agents_controls_is_refused(agent: Agent) -> None:
    with pytest.raises(TunemaxError, match=r"control gain: means nothing for softmax"):
        Pilot(agent, {"softmax_variant": "softmax"})


def test_a_diverging_run_ends_with_its_reason(agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moves: list[Callable[..., Any]] = []
    monkeypatch.setattr(agent, "act", lambda observation: moves.append(observation) or np.array([1.0, 1.0]))
    wild = {"warmup_fraction": 0, "schedule": "constant", "grad_clip": 0, "divergence_margin": 0.2, "learning_rate": 10}
    wild |= {"eval_by": "windows"}  # by which the first spike ends it
    _, result = steer(agent, tmp_path / "wild", max_iters=400, every=4, **wild)
    assert result.event is not None
    assert result.iteration < 400
    assert all(np.isfinite(observation).all() for observation in moves)


def test_an_agent_of_instances_that_differ_steers_whatever_run(short: dict[str, Any], tmp_path: Path) -> None:
    """It is shown what the run is of what has varied, also where that is nothing that it has learned on."""
    vary = {"n_embd": [8, 16], "softmax_variant": ["constantmax", "softmax"]}
    scene = Scene.of("Tiny-v1", controls=["learning_rate"], vary=vary, disturb={"rate": [2, 5]}, **short)
    scene = Scene.model_validate_json(scene.model_dump_json())
    plan = Plan(scene, "ppo", hyperparameters.load("ppo"), seed=1, steps=12, envs=4, round=1, validation=2)
    agent = Agent.load(train_agent(plan, tmp_path / "agent").best)
    assert agent.header.features[-3:] == (
        ("is/n_embd", 2.42601513196, 0.34657359028),  # ln 8 and ln 16: their middle, and half of what is between
        ("is/softmax_variant=constantmax", 0.0, 1.0),
        ("is/softmax_variant=softmax", 0.0, 1.0),
    )
    _, result = steer(agent, tmp_path / "run", n_embd=24, n_layer=2, softmax_variant="softmax")
    assert result.iteration == 12
    agent.check(scene.task)
    message = r"its instances differ in n_embd \(8, 16\), softmax_variant .*, and these differ in no field; train one"
    with pytest.raises(TunemaxError, match=message):
        agent.check(Scene.of("Tiny-v1", controls=["learning_rate"], **short).task)
