"""What happens to a training on its way: that it happens, that nobody is told, and that copies go through it alike."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from tunemax.envs.disturbances import Disturbance, Restart, Shift, Spike
from tunemax.envs.instances import Instance, find_set
from tunemax.envs.policies import Static
from tunemax.envs.rollouts import left_to_sgd, run
from tunemax.envs.steering import Steering
from tunemax.envs.task import Task
from tunemax.gpt.errors import TunemaxError

Make = Callable[..., Task]
ALL: dict[str, Any] = {"text": ["python_stdlib"], "rate": [3, 10], "layer": True}


@pytest.fixture
def beer(tmp_path: Path) -> str:
    path = tmp_path / "beer.txt"
    path.write_text("".join(f"{number} bottles of beer on the wall, take one down.\n" for number in range(2000)))
    return str(path)


def undisturbed(task: Task, index: int = 0) -> Instance:
    return replace(find_set("train").draw(task, index), events=())


def test_each_instance_has_one_of_each_kind_at_a_step_of_its_own(tiny: Make) -> None:
    task = tiny(horizon=80, disturb=ALL)
    instances = [find_set("test").draw(task, index) for index in range(64)]
    assert instances[3] == find_set("test").draw(task, 3)
    for kind in (Shift, Spike, Restart):
        at = [event.iteration for each in instances for event in each.events if isinstance(event, kind)]
        assert len(at) == 64
        assert set(at) <= {step * 4 for step in range(4, 17)}, "the middle three fifths of 20 steps"
        assert len(set(at)) > 9
    factors = [event.factor for each in instances for event in each.events if isinstance(event, Spike)]
    assert 3 <= min(factors) < 3.5
    assert 9 < max(factors) <= 10
    start, end = find_set("test").zone
    shifts = [event.data for each in instances for event in each.events if isinstance(event, Shift)]
    assert all(start <= first < last <= end for first, last in shifts)


def test_a_spike_stays_until_it_is_put_right(tiny: Make) -> None:
    task = tiny(controls=["learning_rate"], horizon=16)
    steering = Steering(task)
    start = undisturbed(task).controls["learning_rate"]
    steering.start({0: replace(undisturbed(task), events=(Spike(4, 5.0),))})
    rates = []
    for action in (0.0, 0.0, -1.0, 0.0):
        done = steering.advance({0: [action]})[0]
        rates.append(done.info["controls"]["learning_rate"] / start)
    assert rates == pytest.approx([1, 5, 5 / 1.5, 5 / 1.5])
    assert "events" not in done.info


def test_a_shift_goes_on_with_another_text(tiny: Make, beer: str) -> None:
    task = tiny(horizon=16)
    steering = Steering(task, 2)
    steering.start({0: replace(undisturbed(task), events=(Shift(8, beer, (0.5, 0.9)),)), 1: undisturbed(task)})
    losses: list[tuple[float, float]] = []
    for _ in range(4):
        done = steering.advance({0: [0, 0], 1: [0, 0]})
        losses.append((done[0].info["loss"], done[1].info["loss"]))
    assert losses[0] == (losses[0][0],) * 2
    assert losses[1] == (losses[1][0],) * 2
    assert losses[2][0] != losses[2][1], "it is measured on the text that it is trained on"
    assert done[0].info["test_loss"] != done[1].info["test_loss"]
    assert done[0].info["return"] == pytest.approx(steering.episode(0).watch.first - np.log(losses[-1][0]))


def test_a_restart_takes_a_layer_back_and_leaves_the_others(tiny: Make) -> None:
    task = tiny(config={"n_layer": 2}, horizon=16)
    instance = undisturbed(task)
    steering = Steering(task)
    steering.start({0: replace(instance, events=(Restart(8, 1),))})
    start = _tensors(steering)
    for _ in range(2):
        steering.advance({0: [0, 0]})
    before, there = _tensors(steering), steering._slots[0]
    assert there is not None
    steering._disturb(there)
    for name, tensor in _tensors(steering).items():
        restarted = "/h.1." in name
        assert tensor.equal((start if restarted else before)[name]), name
        assert not restarted or not tensor.equal(before[name]), name


def _tensors(steering: Steering) -> Mapping[str, torch.Tensor]:
    state = steering.state()
    assert state is not None
    assert state.snapshot is not None
    return state.snapshot.tensors


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_copies_go_through_what_is_to_come_alike(at: int, tiny: Make, beer: str) -> None:
    """From before and after each event, in another steering, beside others, and as a pickle."""
    task = tiny(config={"n_layer": 2}, horizon=24, disturb={**ALL, "text": [beer]})
    chosen = replace(
        undisturbed(task), events=(Spike(4, 4.0), Shift(8, beer, (0.2, 0.5)), Restart(12, 0), Restart(12, 1))
    )
    steering = Steering(task)
    steering.start({0: chosen})
    for _ in range(at):
        steering.advance({0: [0.2, 0.1]})
    state = pickle.loads(pickle.dumps(steering.state()))
    expected = [steering.advance({0: [-0.5, 0.1]})[0] for _ in range(6 - at)]
    other = Steering(task, 2)
    other.start({0: find_set("train").draw(task, 5)})
    other.put(1, state)
    for step in expected:
        done = other.advance({slot: [-0.5, 0.1] for slot in range(2) if other.running(slot)})[1]
        assert np.array_equal(done.observation, step.observation)
        assert (done.reward, done.terminated, done.info) == (step.reward, step.terminated, step.info)


def test_a_vector_is_single_ones_through_disturbances(beer: str, assert_equal: Any) -> None:
    arguments: dict[str, Any] = {"horizon": 20, "frame_skip": 4, "windows": 4, "test_windows": 8}
    arguments["disturb"] = {**ALL, "text": [beer, "python_stdlib"]}
    many = gymnasium.make_vec("tunemax.envs:tunemax/Tiny-v1", num_envs=4, **arguments)
    singles = [gymnasium.make("tunemax/Tiny-v1", **arguments) for _ in range(4)]
    assert_equal(many.reset(seed=3)[0], np.array([single.reset(seed=3 + i)[0] for i, single in enumerate(singles)]))
    many.action_space.seed(1)
    for _ in range(4):
        actions = many.action_space.sample()
        observations, rewards, *_ = many.step(actions)
        for i, single in enumerate(singles):
            observation, reward, *_ = single.step(actions[i])
            assert_equal((observations[i], float(rewards[i])), (observation, reward))


def test_baselines_go_through_the_same(tiny: Make, beer: str) -> None:
    task = tiny(horizon=16, disturb={**ALL, "text": [beer]})
    instances = [find_set("train").draw(task, index) for index in range(2)]
    alone = run(task, instances, Static.for_task(task))
    learned = left_to_sgd(task, instances)
    for outcome, other, instance in zip(alone, learned, instances, strict=True):
        assert outcome.total != run(task, [replace(instance, events=())], Static.for_task(task))[0].total
        assert outcome.history[0].loss == other.history[0].loss


@pytest.mark.parametrize(
    ("disturb", "message"),
    [
        ({"txt": ["a"]}, "disturb txt: no such disturbance; did you mean `text`"),
        ({"text": "python_stdlib"}, "disturb text = python_stdlib: expected a list of datasets"),
        ({"text": []}, "disturb text = .*: expected a list of datasets"),
        ({"rate": 3}, "disturb rate = 3: expected the least and the largest factor"),
        ({"rate": [10, 3]}, "disturb rate = .*: expected the least and the largest factor"),
        ({"rate": [0, 3]}, "disturb rate = .*: expected the least and the largest factor"),
        ({"rate": [1, float("nan")]}, "disturb rate = .*: expected the least and the largest factor"),
        ({"layer": 1}, "disturb layer = 1: expected true or false"),
    ],
)
def test_what_cannot_happen_is_refused_in_one_line(disturb: dict[str, Any], message: str, tiny: Make) -> None:
    with pytest.raises(TunemaxError, match=message) as caught:
        tiny(disturb=disturb)
    assert "\n" not in str(caught.value)


def test_a_spike_that_nobody_could_put_right_is_refused(tiny: Make) -> None:
    with pytest.raises(TunemaxError, match="disturb rate: nobody could put it right; make learning_rate a control"):
        tiny(controls=["gain"], disturb={"rate": [3, 10]})
    with pytest.raises(TunemaxError, match="disturb: an episode of one step has no place for it"):
        tiny(horizon=4, disturb={"layer": True})


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (Spike(3, 2.0), "instance odd: something happens at 3; expected a multiple of frame_skip = 4 below 12"),
        (Spike(12, 2.0), "instance odd: something happens at 12; expected a multiple"),
        (Spike(-4, 2.0), "instance odd: something happens at -4; expected a multiple"),
        (Restart(4, 1), "instance odd: restart of layer 1: the model has layers 0 to 0"),
        (Shift(4, "nowhere", (0.0, 1.0)), "dataset = nowhere: neither a known dataset"),
        (Shift(4, "python_stdlib", (0.5, 0.4)), "data_start = 0.5 is not before data_end = 0.4"),
        (Shift(4, "python_stdlib", (0.5, 0.5 + 1e-7)), "instance odd: its part of python_stdlib has . tokens"),
    ],
)
def test_an_event_that_does_not_fit_is_refused_in_one_line(event: Disturbance, message: str, tiny: Make) -> None:
    steering = Steering(tiny())
    with pytest.raises(TunemaxError, match=message) as caught:
        steering.start({0: Instance("odd", 1, (0.0, 0.5), 12, events=(event,))})
    assert "\n" not in str(caught.value)
    assert not steering.begun(0)
