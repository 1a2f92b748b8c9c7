"""The core: what controls do to a training, how it ends, what its rewards mean, and copies of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tunemax.envs.instances import Instance, find_set
from tunemax.envs.observation import FEATURES, LIMIT, Features
from tunemax.envs.steering import MARGIN, Steering
from tunemax.envs.task import Task, task_of
from tunemax.envs.texts import corpus_of
from tunemax.gpt.divergence import Event, divergence_cap
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.trainer import Trainer

Make = Callable[..., Task]
WILD = {"warmup_fraction": 0, "schedule": "constant", "grad_clip": 0, "divergence_margin": 0.2}
"""Beside a learning rate of 10 a training that diverges at once."""


def instance(task: Task, index: int = 0, set: str = "train") -> Instance:
    return find_set(set).draw(task, index)


def starting_at(of: Instance, controls: dict[str, float]) -> Instance:
    """The same training from other values of some fields."""
    return replace(of, controls={**of.controls, **controls})


def played(task: Task, of: Instance, moves: Any = None) -> tuple[Steering, list[float]]:
    """A steering after a whole episode with one action repeated, and its rewards."""
    steering = Steering(task)
    steering.start({0: of})
    rewards = []
    while steering.running(0):
        rewards.append(steering.advance({0: np.zeros(len(task.dials)) if moves is None else moves})[0].reward)
    return steering, rewards


# ---- what is trained -------------------------------------------------------------------------------------------------


def test_left_alone_it_is_the_training_that_the_configuration_says(tiny: Make) -> None:
    task = tiny(test_windows=64)
    config = instance(task).config(task)
    trainer = Trainer(config, corpus_of(config.train.dataset))
    member = trainer.add(config)
    trainer.step(task.horizon)
    steering, _ = played(task, instance(task))
    windows = trainer.corpus.windows("tuning", 8, task.windows, *find_set("train").measured)
    assert steering.episode().loss == pytest.approx(trainer.window_losses([member], windows).mean(), abs=1e-12)
    tested = trainer.corpus.windows("test", 8, 64, *find_set("train").measured)
    assert steering.episode().test_loss == pytest.approx(trainer.window_losses([member], tested).mean(), abs=1e-12)


def test_an_action_changes_its_field_and_what_is_trained(tiny: Make) -> None:
    task = tiny(controls=["constantmax.gamma", "learning_rate"])
    steering = Steering(task, 2)
    steering.start({0: instance(task), 1: instance(task)})
    start = dict(steering.episode(0).history[0].controls)
    done = steering.advance({0: [0, 0], 1: [1, -1]})
    assert done[0].info["controls"] == start
    assert done[1].info["controls"]["constantmax.gamma"] == pytest.approx(1.5 * start["constantmax.gamma"])
    assert done[1].info["controls"]["learning_rate"] == pytest.approx(start["learning_rate"] / 1.5)
    assert done[0].reward != done[1].reward


def test_a_controlled_learnable_is_taken_away_from_sgd(tiny: Make) -> None:
    one = tiny(controls=["constantmax.beta"]).config.softmax
    gain = tiny(controls=["gain"]).config.softmax
    free = tiny(controls=["learning_rate"]).config.softmax
    assert set(one.learned()) == {"gamma"}
    assert set(gain.learned()) == set()
    assert set(free.learned()) == {"beta", "gamma"}


def test_left_to_sgd_starts_where_the_instance_starts_and_learns(tiny: Make) -> None:
    task = tiny(controls=["constantmax.beta", "constantmax.gamma"], config={"variant_lr_ratio": 10})
    chosen = instance(task)
    steering, _ = played(task.left_to_sgd(), chosen, np.zeros(0))
    first, last = steering.episode().history[0], steering.episode().history[-1]
    assert first.log_gamma == pytest.approx((math.log(chosen.controls["constantmax.gamma"]),), rel=1e-5)
    assert first.beta == pytest.approx((chosen.controls["constantmax.beta"],), rel=1e-5)
    assert abs(last.beta[0] - first.beta[0]) > 1e-3


def test_absolute_actions_put_controls_to_places(tiny: Make) -> None:
    task = tiny(action="absolute")
    steering = Steering(task)
    steering.start({0: instance(task)})
    done = steering.advance({0: [-0.2, 0.5]})[0]
    assert [dial.unit(done.info["controls"][dial.name]) for dial in task.dials] == pytest.approx([-0.2, 0.5])


def test_trainings_of_other_sizes_and_horizons_stand_side_by_side(tiny: Make) -> None:
    task = tiny()
    chosen = [instance(task), instance(task, 1, "larger"), instance(task, 0, "longer")]
    steering = Steering(task, 3)
    steering.start(dict(enumerate(chosen)))
    rewards: list[list[float]] = [[], [], []]
    while any(running := [slot for slot in range(3) if steering.running(slot)]) or running:
        for slot, done in steering.advance({slot: [0.3, -0.2] for slot in running}).items():
            rewards[slot].append(done.reward)
    assert [len(of) for of in rewards] == [3, 3, 6]
    for slot in range(3):
        assert rewards[slot] == played(task, chosen[slot], [0.3, -0.2])[1]


# ---- rewards and ends ------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 4095), st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=3, max_size=3))
def test_rewards_telescope_whatever_is_done(index: int, moves: list[tuple[float, float]]) -> None:
    task = task_of("tunemax/Tiny-v1", {}, horizon=12, frame_skip=4, windows=2, test_windows=0)
    steering = Steering(task)
    first = steering.start({0: instance(task, index)})[0].info["loss"]
    total = 0.0
    for move in moves:
        if steering.running(0):
            done = steering.advance({0: move})[0]
            total += done.reward / task.reward_scale
            assert np.abs(done.observation).max() <= LIMIT
    assert total == pytest.approx(math.log(first / steering.episode().loss), abs=1e-9)
    assert total == pytest.approx(steering.episode().total, abs=1e-9)


@pytest.mark.parametrize(("rule", "steps"), [("tokens", 2), ("windows", 1)])
def test_a_training_that_diverges_ends_worse_than_any_that_finishes(rule: str, steps: int, tiny: Make) -> None:
    """At the second look above the cap, by the rule of older agents at the first."""
    task = tiny(config={**WILD, "eval_by": rule})
    steering, rewards = played(task, starting_at(instance(task), {"learning_rate": 10.0}))
    config = task.config
    cap = divergence_cap(config, corpus_of(config.train.dataset))
    episode = steering.episode()
    assert episode.diverged
    assert episode.ended
    assert len(rewards) == steps
    worst_finish = episode.watch.first - math.log(cap)  # a loss above the cap is no finish
    assert sum(rewards) == pytest.approx(worst_finish - MARGIN)
    assert episode.test_loss == cap


def test_a_diverged_training_is_seen_as_finite_numbers(tiny: Make) -> None:
    task = tiny(config=WILD)
    steering = Steering(task, 2)
    steering.start({0: starting_at(instance(task), {"learning_rate": 10.0}), 1: instance(task)})
    once = steering.advance({0: [0, 0], 1: [0, 0]})
    assert not once[0].terminated
    assert once[0].info["loss"] == divergence_cap(task.config, corpus_of(task.config.train.dataset))
    done = steering.advance({0: [0, 0], 1: [0, 0]})
    assert done[0].terminated
    assert done[0].info["diverged"]
    assert not done[1].terminated
    assert np.isfinite(done[0].observation).all()
    assert all(math.isfinite(value) for value in (done[0].reward, done[0].info["loss"], done[0].info["test_loss"]))
    assert once[1].reward == played(task, instance(task))[1][0]  # the neighbour has not noticed


def test_a_training_that_diverged_is_not_tested_even_if_its_loss_is_fine(tiny: Make) -> None:
    """As where a learnable has left its domain."""
    task = tiny()
    steering = Steering(task)
    steering.start({0: instance(task)})
    (trainer,) = steering._pool
    trainer.members[0].event = Event("diverged: a learnable left its domain", 0)
    cap = divergence_cap(trainer.members[0].config, trainer.corpus)
    done = steering.advance({0: [0, 0]})[0]
    assert done.info["diverged"]
    assert done.info["test_loss"] == cap


def test_weights_that_are_not_finite_end_the_training(tiny: Make) -> None:
    task = tiny()
    steering = Steering(task)
    steering.start({0: instance(task)})
    trainer = next(iter(steering._pool))
    trainer._rows.theta.mul_(math.nan)
    done = steering.advance({0: [0, 0]})[0]
    assert done.terminated
    assert np.isfinite(done.observation).all()
    assert done.reward < -MARGIN


def test_no_test_is_made_if_none_is_wanted(tiny: Make) -> None:
    task = tiny(test_windows=0)
    assert played(task, instance(task))[0].episode().test_loss is None


# ---- observations ----------------------------------------------------------------------------------------------------


def test_observations_say_what_they_promise(tiny: Make) -> None:
    task = tiny(controls=["learning_rate", "constantmax.beta", "constantmax.gamma"])
    steering = Steering(task)
    start = steering.start({0: instance(task)})[0]
    done = steering.advance({0: [0.25, -0.5, 1.0]})[0]

    def raw(name: str, of: Any = done) -> float:
        return steering.features.raw(of.observation, name)

    now = done.info["controls"]
    assert start.observation.shape == done.observation.shape == (len(FEATURES) + 6,)
    assert start.observation.dtype == np.float32
    assert raw("progress", start) == pytest.approx(0, abs=1e-6)
    assert raw("progress") == pytest.approx(4 / 12)
    assert raw("loss") == pytest.approx(-done.reward, rel=1e-5)
    trained = next(iter(steering._pool)).members[0].train_loss
    assert raw("gap") == pytest.approx(done.info["loss"] - trained, abs=1e-5)
    assert raw("fast_slope") == pytest.approx(-done.reward / 2, rel=1e-5)
    assert raw("beta_mean") == pytest.approx(now["constantmax.beta"], rel=1e-5)
    assert raw("log_gamma_mean") == pytest.approx(math.log(now["constantmax.gamma"]), rel=1e-5)
    assert raw("gain_mean") == pytest.approx(-now["constantmax.beta"] - math.log(now["constantmax.gamma"]), rel=1e-5)
    assert raw("gain_std") == 0
    assert raw("width") == 3
    assert raw("depth") == pytest.approx(0, abs=1e-6)
    assert raw("step") == pytest.approx(1 / 3)
    assert [raw(f"last/{dial.name}") for dial in task.dials] == [0.25, -0.5, 1.0]
    for dial in task.dials:
        assert dial.at(raw(f"at/{dial.name}")) == pytest.approx(now[dial.name], rel=1e-5)
    assert 1e-4 < 10 ** raw("update") < 1


@pytest.mark.parametrize("value", [1e9, -1e9, math.nan, math.inf, -math.inf])
def test_whatever_is_seen_an_observation_stays_in_its_space(value: float, tiny: Make) -> None:
    features = Features(tiny().dials)
    assert features.space.contains(features.normalised([dict.fromkeys(features.names, value)])[0])


def test_the_size_of_an_update_and_the_row_sum_are_measured(tiny: Make) -> None:
    task = tiny()
    steering = Steering(task)
    steering.start({0: instance(task)})
    trainer = next(iter(steering._pool))
    before = trainer.rows()[0]
    seen = steering.advance({0: [0, 0]})[0].observation
    change = float((trainer.rows()[0] - before).norm() / before.norm())
    assert 10 ** steering.features.raw(seen, "update") == pytest.approx(change, rel=1e-4)
    normal = task_of(
        "tunemax/Tiny-v1", {"softmax_variant": "softmax"}, controls=["learning_rate"], horizon=12, frame_skip=4
    )
    plain = Steering(normal)
    assert plain.features.raw(plain.start({0: instance(normal)})[0].observation, "row_sum") == pytest.approx(
        0, abs=1e-5
    )


def test_guarded_entries_are_counted(tiny: Make) -> None:
    task = tiny(controls=["gain"])
    steering = Steering(task)
    all_of_them = steering.start({0: starting_at(instance(task), {"constantmax.beta": -500.0})})[0].observation
    none = steering.start({0: instance(task)})[0].observation
    assert all_of_them[steering.features.names.index("guarded")] == LIMIT
    assert steering.features.raw(none, "guarded") == 0


# ---- copies ----------------------------------------------------------------------------------------------------------


def test_a_state_can_be_put_elsewhere_and_again(tiny: Make) -> None:
    task = tiny()
    steering, other = Steering(task), Steering(task, 3)
    steering.start({0: instance(task)})
    steering.advance({0: [0.5, 0.5]})
    state = steering.state()
    expected = [steering.advance({0: [-0.5, 0.1]})[0] for _ in range(2)]
    for slot in (2, 0):
        other.put(slot, state)
    for step in expected:
        for done in other.advance({0: [-0.5, 0.1], 2: [-0.5, 0.1]}).values():
            assert np.array_equal(done.observation, step.observation)
            assert (done.reward, done.terminated, done.info) == (step.reward, step.terminated, step.info)
    ended = steering.state()
    other.put(1, ended)
    assert not other.running(1)
    assert other.episode(1).loss == steering.episode().loss


def test_a_state_of_another_task_is_refused(tiny: Make) -> None:
    task = tiny()
    steering, other = Steering(task), Steering(tiny(config={"weight_decay": 0.5}))
    steering.start({0: instance(task)})
    with pytest.raises(TunemaxError, match="state: it belongs to another task"):
        other.put(0, steering.state())


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_running_trainings_advance_together(tiny: Make) -> None:
    task = tiny()
    steering = Steering(task, 2)
    steering.start({0: instance(task), 1: instance(task, 1)})
    with pytest.raises(TunemaxError, match="no action for training 1"):
        steering.advance({0: [0, 0]})
    assert steering.episode(0).iteration == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"controls": []}, "controls: none given"),
        ({"controls": ["learning_rate", "learning_rate"]}, "control learning_rate: given twice"),
        ({"controls": ["gain", "constantmax.gamma"]}, "two of them move constantmax.gamma"),
        ({"controls": ["constantmax.beta", "gain"]}, "two of them move constantmax.beta"),
        ({"horizon": 10}, "horizon = 10: not a multiple of frame_skip = 4"),
        ({"frame_skip": 0}, "frame_skip = 0: expected a whole number of at least 1"),
        ({"windows": 2.5}, "windows = 2.5: expected a whole number"),
        ({"action": "steps"}, "action = steps: no such form"),
        ({"config": {"n_layers": 1}}, "n_layers: no such field; did you mean `n_layer`"),
        (
            {"controls": ["learning_rate", "weight_decay", "dropout", "grad_clip", "gain", "variant_lr_ratio"]},
            "control variant_lr_ratio: means nothing once the others are taken away from SGD",
        ),
    ],
)
def test_impossible_tasks_are_refused_in_one_line(arguments: dict[str, Any], message: str, tiny: Make) -> None:
    with pytest.raises(TunemaxError, match=message) as caught:
        tiny(**arguments)
    assert "\n" not in str(caught.value)


def test_seeds_of_training_do_not_touch_the_global_generator(tiny: Make) -> None:
    before = torch.get_rng_state()
    played(tiny(config={"dropout": 0.2}), instance(tiny()))
    assert torch.equal(torch.get_rng_state(), before)
