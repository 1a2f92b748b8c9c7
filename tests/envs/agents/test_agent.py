"""Agents are trained in rounds, go on after a kill to the same numbers, and are refused where they do not belong."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tunemax.envs.agents import file, hyperparameters
from tunemax.envs.agents.agent import LAST, Agent
from tunemax.envs.agents.scene import Scene
from tunemax.envs.agents.training import Plan, Trained, train_agent
from tunemax.envs.instances import find_set
from tunemax.envs.rollouts import run
from tunemax.gpt.defaults import UNTIL
from tunemax.gpt.errors import TunemaxError


@pytest.fixture
def trained(plan: Callable[..., Plan], tmp_path: Path) -> Trained:
    return train_agent(plan(), tmp_path / "agent")


def weights(path: Path) -> dict[str, torch.Tensor]:
    return file.load(path)[1]


@pytest.mark.parametrize("algorithm", hyperparameters.ALGORITHMS)
def test_a_training_that_was_killed_goes_on_to_the_same_numbers(
    algorithm: str, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    whole = train_agent(plan(algorithm), tmp_path / "whole")
    seen: list[int] = []

    def killed(steps: int) -> None:
        seen.append(steps)
        if steps == 32:  # in the third round
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_agent(plan(algorithm), tmp_path / "cut", stepped=killed)
    assert file.load(tmp_path / "cut" / LAST)[0].steps == 24
    again = train_agent(plan(algorithm), tmp_path / "cut", stepped=seen.append)
    assert seen[len(seen) - 6] == 28
    assert (again.evaluations, again.spent) == (whole.evaluations, whole.spent)
    for path, other in ((whole.last, again.last), (whole.best, again.best)):
        ours, theirs = weights(path), weights(other)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_was_spent_counts_learning_and_looking(trained: Trained) -> None:
    assert trained.spent.learning == 48 * 4
    assert trained.spent.validation == 4 * 2 * 12
    assert trained.spent.check == 2 * 2 * 12
    assert [each.steps for each in trained.evaluations] == [12, 24, 36, 48]


def test_the_best_agent_is_kept_and_acts_as_it_did(trained: Trained) -> None:
    best = Agent.load(trained.best)
    assert best.header.steps == trained.best_evaluation.steps
    instances = [find_set("validation").draw(best.task, index) for index in range(2)]
    outcomes = run(best.task, instances, best)
    assert np.mean([outcome.total for outcome in outcomes]) == trained.best_evaluation.total
    assert best.act(np.zeros(24)).tolist() == best.act(np.zeros(24)).tolist()


def test_a_finished_training_goes_on_if_more_steps_are_asked_for(
    plan: Callable[..., Plan], trained: Trained, tmp_path: Path
) -> None:
    unchanged = train_agent(plan(), tmp_path / "agent")
    assert unchanged.spent == trained.spent
    longer = train_agent(plan(steps=60), tmp_path / "agent")
    assert longer.evaluations[:4] == trained.evaluations
    assert len(longer.evaluations) == 5


def test_a_report_can_stop_a_training(plan: Callable[..., Plan], tmp_path: Path) -> None:
    told: list[int] = []
    stopped = train_agent(
        plan(), tmp_path, report=lambda evaluation: told.append(evaluation.steps) or evaluation.steps == 24
    )
    assert stopped.stopped
    assert told == [12, 24]


def test_the_global_generators_are_left_alone(plan: Callable[..., Plan], tmp_path: Path) -> None:
    def states() -> list[Any]:
        return [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # noqa: NPY002

    before = states()
    Agent.load(train_agent(plan(steps=24), tmp_path).best)
    assert states() == before


def test_tensorboard_has_one_curve_although_the_training_was_cut(plan: Callable[..., Plan], tmp_path: Path) -> None:
    train_agent(plan(steps=24), tmp_path)
    train_agent(plan(steps=48), tmp_path)
    board = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in board.Scalars("validation/return")] == [12, 24, 36, 48]
    assert "train/actor_loss" in board.Tags()["scalars"]


# ------------------------------------------------------------------------------------------------------- what is refuse


def test_the_folder_of_another_agent_is_refused(plan: Callable[..., Plan], trained: Trained, tmp_path: Path) -> None:
    for other, message in (
        (plan(seed=2), r"another seed \(1, not 2\)"),
        (plan("tqc"), r"another algorithm \(sac, not tqc\)"),
        (plan(envs=2), r"another envs \(4, not 2\)"),
        (plan(scene={"horizon": 24}), "another scene"),
        (plan(preset=plan().preset.changed(tau=0.5)), "another preset"),
    ):
        with pytest.raises(TunemaxError, match=message):
            train_agent(other, tmp_path / "agent")


def test_an_agent_is_refused_for_other_controls(trained: Trained) -> None:
    agent = Agent.load(trained.best)
    with pytest.raises(TunemaxError, match=r"moves learning_rate, gain, not constantmax.beta, constantmax.gamma"):
        agent.check(Scene.of("Constantmax-v1").task)
    with pytest.raises(TunemaxError, match="trained with action = box"):
        agent.check(Scene.of("Tiny-v1", action="absolute").task)
    agent.check(Scene.of("Joint-v1", controls=["learning_rate", "gain"], reward_scale=20).task)


def test_an_agent_of_another_version_is_refused(trained: Trained) -> None:
    header, tensors = file.load(trained.best)
    other = header.model_copy(update={"features": header.features[:-1]})
    file.save(other, tensors, trained.best)
    with pytest.raises(TunemaxError, match=r"shows or moves other things now than in tunemax .*train again"):
        Agent.load(trained.best)


def test_damaged_agents_are_refused(trained: Trained) -> None:
    content = trained.best.read_bytes()
    header, tensors = file.load(trained.best)
    name = next(name for name in tensors if "mu.weight" in name)

    def cut() -> None:
        trained.best.write_bytes(content[: len(content) // 2])

    def emptied() -> None:
        trained.best.write_bytes(b"")

    def of_something_else() -> None:
        trained.best.write_bytes(safetensors.torch.save({"x": torch.zeros(1)}))

    def without_a_tensor() -> None:
        file.save(header, {other: values for other, values in tensors.items() if other != name}, trained.best)

    def of_another_shape() -> None:
        file.save(header, {**tensors, name: torch.zeros(1, 1)}, trained.best)

    def not_finite() -> None:
        file.save(header, {**tensors, name: torch.full_like(tensors[name], torch.nan)}, trained.best)

    def newer() -> None:
        file.save(header.model_copy(update={"format": 99}), tensors, trained.best)

    for spoil in (cut, emptied, of_something_else, without_a_tensor, of_another_shape, not_finite, newer):
        spoil()
        with pytest.raises(TunemaxError, match=r"damaged|format 99") as caught:
            Agent.load(trained.best)
        assert "\n" not in str(caught.value)
    trained.best.unlink()
    with pytest.raises(TunemaxError, match="no agent here"):
        Agent.load(trained.best.parent)


def test_an_agent_of_an_environment_that_is_gone_is_refused(trained: Trained) -> None:
    header, tensors = file.load(trained.best)
    for scene, message in (
        (
            header.scene.model_copy(update={"id": "tunemax/Tiny-v9"}),
            "tunemax/Tiny-v9: no such environment in this version",
        ),
        (header.scene.model_copy(update={"arguments": {"colour": 1}}), "colour: no such argument"),
    ):
        file.save(header.model_copy(update={"scene": scene}), tensors, trained.best)
        with pytest.raises(TunemaxError, match=message):
            Agent.load(trained.best)


def test_two_processes_do_not_train_in_one_folder(plan: Callable[..., Plan], tmp_path: Path) -> None:
    def second(_: int) -> None:
        train_agent(plan(), tmp_path)

    with pytest.raises(TunemaxError, match="another process trains an agent here"):
        train_agent(plan(), tmp_path, stepped=second)


@pytest.mark.parametrize(
    ("algorithm", "changes", "message"),
    [
        ("sac", {"steps": 0}, "steps = 0: expected a whole number"),
        ("sac", {"envs": True}, "envs = True: expected a whole number"),
        ("sac", {"validation": 65}, "validation = 65: the set has 64 instances"),
        ("sac", {"checked": 4097}, "checked = 4097: the set has 4096 instances"),
        ("sac", {"scene": {"action": "discrete"}}, "it needs box or absolute"),
        ("dqn", {"scene": {"action": "box"}}, "it needs action = discrete"),
        ("ppo", {"preset": hyperparameters.load("ppo").changed(episodes=2)}, "not a multiple of episodes = 2"),
    ],
)
def test_impossible_plans_are_refused(
    algorithm: str, changes: dict[str, Any], message: str, plan: Callable[..., Plan]
) -> None:
    with pytest.raises(TunemaxError, match=message):
        plan(algorithm, **changes)


# --------------------------------------------------------------------------------------------------------------- preset


@pytest.mark.parametrize("algorithm", hyperparameters.ALGORITHMS)
def test_every_algorithm_has_a_preset_that_says_where_it_comes_from(algorithm: str) -> None:
    assert len(hyperparameters.load(algorithm).source) > 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source: me\nlerning_rate: 1", "lerning_rate: no such hyperparameter; did you mean `learning_rate`"),
        ("source: me\nlearning_rate: -1\nbatch_size: 8", "learning_rate = -1: expected a number > 0"),
        ("learning_rate: 1\nbatch_size: 8", "source: missing"),
        ("- 1", "expected names with values"),
        ("a: [", "not readable as YAML"),
        ("[" * 5000, "not readable as YAML"),
        ("source: 2024-13-45", "not readable as YAML"),
        (f"source: {'9' * 5000}", "not readable as YAML"),
        ("!!python/object/apply:os.getcwd []", "not readable as YAML"),
    ],
)
def test_mistakes_in_presets_are_told(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(TunemaxError, match=message):
        hyperparameters.load("sac", path)


@pytest.mark.parametrize(
    "name", ["Tiny-v1", "tunemax/Tiny-v1", "tunemax.envs:tunemax/Tiny-v1", "envs:tunemax/Tiny-v1", "envs:Tiny-v1"]
)
def test_an_id_is_known_however_it_was_written(name: str) -> None:
    """``envs:`` was the module's name once."""
    assert Scene.of(name) == Scene.of("Tiny-v1")
    assert Scene.model_validate_json(f'{{"id": "{name}"}}').id == "tunemax/Tiny-v1"


@pytest.mark.parametrize("name", ["LearningRate-v1", "Tiny-v1"])
def test_an_old_scene_keeps_the_defaults_of_its_time_below_what_its_id_names(name: str) -> None:
    now, old = Scene.of(name), Scene.of(name).at(2)
    rates = {"LearningRate-v1": 1e-2, "Tiny-v1": 3e-2}
    assert old.task.config.train.learning_rate == now.task.config.train.learning_rate == rates[name]
    for field, was in UNTIL[2].items():
        assert old.task.config.flat()[field] == (rates[name] if field == "learning_rate" else was)
    given = Scene.of(name, config={"schedule": "wsd", "learning_rate": 2e-3}).at(2).task.config.train
    assert (given.schedule, given.learning_rate, given.grad_clip) == ("wsd", 2e-3, UNTIL[2]["grad_clip"])


def test_unknown_names_are_told() -> None:
    with pytest.raises(TunemaxError, match=r"algorithm = sca: no such algorithm; did you mean `sac`"):
        hyperparameters.load("sca")
    with pytest.raises(TunemaxError, match=r"no such id; did you mean `tunemax/Constantmax-v1`"):
        Scene.of("Constantmaxx-v1")
    with pytest.raises(TunemaxError, match=r"environment other:tunemax/Tiny-v1: no such id"):
        Scene.of("other:tunemax/Tiny-v1")
    with pytest.raises(TunemaxError, match="no such preset"):
        hyperparameters.load("sac", Path("nowhere.yaml"))
    with pytest.raises(TunemaxError, match=r"preset: gama: no such hyperparameter; did you mean `gamma`"):
        hyperparameters.load("sac").changed(gama=1)
