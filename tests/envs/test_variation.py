"""Trainings of one task that differ in more than a seed: what is drawn, what is shown, and that they stand together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from tunemax.envs.instances import Instance, find_set
from tunemax.envs.observation import FEATURES, Features
from tunemax.envs.steering import Steering
from tunemax.envs.task import Task, task_of
from tunemax.envs.variation import Varied
from tunemax.gpt.errors import TunemaxError

Make = Callable[..., Task]
WIDTHS = {"n_embd": {"values": [8, 16], "held_out": [24]}}
MANY: dict[str, Any] = {
    **WIDTHS,
    "n_layer": [1, 2],
    "batch_size": [2, 4],
    "softmax_variant": ["constantmax", "softmax", "polymax"],
    "horizon": {"values": [8, 12], "held_out": [24]},
    "weight_decay": {"low": 0.01, "high": 1.0},
}
RATE = {"controls": ["learning_rate"]}


def drawn(task: Task, set: str, count: int = 64) -> list[Instance]:
    return [find_set(set).draw(task, index) for index in range(count)]


# ---- what is drawn ---------------------------------------------------------------------------------------------------


def test_training_and_test_draw_from_the_same_values(tiny: Make) -> None:
    task = tiny(**RATE, vary=MANY)
    for name in ("train", "validation", "test"):
        instances = drawn(task, name)
        assert {each.size["n_embd"] for each in instances} == {8, 16}
        assert {each.size["n_layer"] for each in instances} == {1, 2}
        assert {each.size["softmax_variant"] for each in instances} == {"constantmax", "softmax", "polymax"}
        assert {each.horizon for each in instances} == {8, 12}
        decays = [each.size["weight_decay"] for each in instances]
        assert 0.01 <= min(decays) < 0.03
        assert 0.3 < max(decays) <= 1
        assert {each.size["n_head"] for each in instances} == {1, 2}, "a head keeps its width"
        assert len({(each.size["n_embd"], each.size["n_layer"]) for each in instances}) == 4


def test_what_is_held_out_is_for_transfer_sets_alone(tiny: Make) -> None:
    task = tiny(**RATE, vary=MANY)
    assert {(each.size["n_embd"], each.horizon) for each in drawn(task, "larger")} == {(24, 8), (24, 12)}
    assert {each.size["n_layer"] for each in drawn(task, "larger")} == {1, 2}, "nothing of it is held out"
    assert {(each.size["n_embd"], each.horizon) for each in drawn(task, "longer")} == {(8, 24), (16, 24)}


def test_fields_that_mean_nothing_beside_the_others_are_not_drawn(tiny: Make) -> None:
    vary = {"softmax_variant": ["softmax", "constantmax"], "constantmax.base": [2.0, 4.0]}
    instances = drawn(tiny(**RATE, vary=vary), "train")
    assert {("constantmax.base" in each.size, each.size["softmax_variant"]) for each in instances} == {
        (True, "constantmax"),
        (False, "softmax"),
    }


def test_a_field_or_horizon_that_is_given_varies_no_more() -> None:
    task = task_of("MixedWidths-v1", {"n_embd": 8}, horizon=20)
    assert set(task.varied) == {"n_layer"}
    assert {each.size["n_layer"] for each in drawn(task, "train")} == {1, 2}
    assert {(each.horizon, "n_embd" in each.size) for each in drawn(task, "train")} == {(20, False)}


# ---- what is shown ---------------------------------------------------------------------------------------------------


def test_the_mean_episode_is_up_to_a_whole_step(tiny: Make) -> None:
    assert tiny().mean_steps == 3
    assert tiny(**RATE, vary={"horizon": [8, 12, 24]}).mean_steps == 4
    assert tiny(**RATE, vary={"horizon": [8, 12]}).mean_steps == 3


def test_an_agent_sees_what_varies_and_nothing_more_where_nothing_does(tiny: Make) -> None:
    features = Features(tiny().dials)
    assert len(features.names) == len(FEATURES) + 4
    task = tiny(**RATE, vary=MANY)
    steering = Steering(task)
    assert steering.features.names[len(FEATURES) + 2 :] == (
        "is/n_embd", "is/n_layer", "is/batch_size", "is/softmax_variant=constantmax", "is/softmax_variant=softmax",
        "is/softmax_variant=polymax", "is/horizon", "is/weight_decay",
    )  # fmt: skip
    for set, index in itertools.product(("train", "larger"), range(8)):
        instance = find_set(set).draw(task, index)
        seen = steering.start({0: instance})[0].observation
        numbers = dict(zip(steering.features.names, seen.tolist(), strict=True))
        raw = {name: number for name, number in numbers.items() if name.startswith("is/")}
        assert raw["is/n_embd"] == pytest.approx({8: -1, 16: 1, 24: 2.1699}[instance.size["n_embd"]], abs=1e-4)
        assert raw["is/horizon"] == {8: -1, 12: 1}[instance.horizon]
        variants = {name: value for name, value in raw.items() if "variant" in name}
        assert variants == {
            name: float(name == f"is/softmax_variant={instance.size['softmax_variant']}") for name in variants
        }
        assert -1 <= raw["is/weight_decay"] <= 1
        after = steering.advance({0: [0.1]})[0].observation
        assert dict(zip(steering.features.names, after.tolist(), strict=True)).items() >= raw.items()
        width = math.log(instance.size["n_embd"])
        assert steering.features.raw(seen, "is/n_embd") == pytest.approx(width, abs=1e-4)


# ---- they stand side by side -----------------------------------------------------------------------------------------


def test_members_of_one_vector_that_differ_are_what_single_ones_are(tmp_path: Path, assert_equal: Any) -> None:
    """In width, depth, batch, variant, text and horizon; bit for bit, through ends and new beginnings."""
    other = tmp_path / "other.txt"
    other.write_text("".join(f"{number} bottles of beer on the wall, take one down.\n" for number in range(2000)))
    vary = {**MANY, "dataset": ["python_stdlib", str(other)], "block_size": [4, 8]}
    arguments: dict[str, Any] = {**RATE, "vary": vary, "frame_skip": 4, "windows": 4, "test_windows": 8}
    many = gymnasium.make_vec("tunemax.envs:tunemax/Tiny-v1", num_envs=6, autoreset_mode="SameStep", **arguments)
    singles = [gymnasium.make("tunemax/Tiny-v1", **arguments) for _ in range(6)]
    observations, _ = many.reset(seed=11)
    for i, single in enumerate(singles):
        assert_equal(observations[i], single.reset(seed=11 + i)[0])
    trainers = len(list(many.unwrapped._steering._pool))  # type: ignore[attr-defined]
    assert trainers > 3
    many.action_space.seed(4)
    lengths: set[int] = set()
    for _ in range(7):
        actions = many.action_space.sample()
        observations, rewards, ended, _, infos = many.step(actions)
        for i, single in enumerate(singles):
            observation, reward, over, _, info = single.step(actions[i])
            if over:
                lengths.add(info["iteration"])
                assert infos["final_info"]["test_loss"][i] == info["test_loss"]
                observation, info = single.reset()
            assert_equal(observations[i], observation)
            assert (rewards[i], ended[i], infos["loss"][i]) == (reward, over, info["loss"])
    assert lengths == {8, 12}


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({"n_embed": [8, 16]}, "n_embed: no such field; did you mean `n_embd`"),
        ({"n_embd": 8}, "vary n_embd: values = 8: expected a list of values"),
        ({"n_embd": [8]}, "vary n_embd: 8 alone does not vary"),
        ({"n_embd": []}, "vary n_embd: no values are left for training, validation and test"),
        ({"n_embd": {"values": [], "held_out": [16]}}, "vary n_embd: no values are left for training, validation and"),
        ({"n_embd": {}}, "vary n_embd: 8 alone does not vary"),
        ({"n_embd": [8, 0]}, "n_embd = 0: expected a whole number"),
        ({"n_embd": [8, "wide"]}, "n_embd = wide: expected a whole number"),
        ({"n_embd": [8, 8]}, "vary n_embd: 8 is given twice"),
        (
            {"n_embd": {"values": [8, 16], "held_out": [16]}},
            "vary n_embd: 16 is given twice, or both drawn and held out",
        ),
        ({"n_embd": {"value": [8, 16]}}, "vary n_embd: value: no such name; did you mean `values`"),
        ({"n_embd": {"low": 8, "high": 64}}, "vary n_embd: a range is for numbers that are not whole"),
        ({"n_embd": [8, 12]}, "vary n_embd: 12 is not a multiple of 8, the width of a head"),
        ({"n_embd": [8, 12], "n_head": [2, 3]}, "n_embd = 8 is not divisible by n_head = 3"),
        ({"weight_decay": {"low": 1.0, "high": 0.1}}, "vary weight_decay: expected low < high"),
        ({"weight_decay": {"low": 1.0}}, "vary weight_decay: expected low < high, both or neither"),
        ({"weight_decay": {"values": [0.1, 0.2], "held_out": [0.3]}}, "vary weight_decay: no transfer set draws it"),
        ({"learning_rate": [0.1, 0.2]}, "vary learning_rate: it is steered"),
        ({"constantmax.learn_beta": [True, False]}, "vary constantmax.learn_beta: it is steered"),
        ({"seed": [1, 2]}, "vary seed: trainings of a task cannot differ in it"),
        ({"out_dir": ["a", "b"]}, "vary out_dir: trainings of a task cannot differ in it"),
        ({"horizon": [12, 14]}, "horizon = 14: not a multiple of frame_skip = 4"),
        ({"horizon": {"held_out": [14]}}, "horizon = 14: not a multiple of frame_skip = 4"),
        ({"softmax_variant": ["constantmax", "softmax"]}, "control gain: means nothing with softmax_variant = softmax"),
        ({"softmax_variant": ["constantmax", "softmx"]}, "softmax_variant = softmx: "),
        ({"polymax.power": [2, 3]}, "polymax.power: "),
    ],
)
def test_what_cannot_vary_is_refused_in_one_line(vary: dict[str, Any], message: str, tiny: Make) -> None:
    with pytest.raises(TunemaxError, match=message) as caught:
        tiny(vary=vary)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("set", "vary", "message"),
    [
        ("larger", {"n_embd": [8, 16]}, r"set = larger: the task holds nothing out for it; hold some values of n_embd"),
        (
            "longer",
            {"horizon": [8, 12]},
            r"set = longer: the task holds nothing out for it; hold some values of horizo",
        ),
        ("longer", WIDTHS, "set = longer: the task holds nothing out"),
    ],
)
def test_a_set_for_which_nothing_is_held_out_is_refused(
    set: str, vary: dict[str, Any], message: str, tiny: Make, short: dict[str, Any]
) -> None:
    with pytest.raises(TunemaxError, match=message) as caught:
        find_set(set).draw(tiny(vary=vary), 0)
    assert "\n" not in str(caught.value)
    short.pop("horizon")
    with pytest.raises(TunemaxError, match=message):
        gymnasium.make("tunemax.envs:tunemax/Tiny-v1", set=set, vary=vary, **short)


def test_a_field_is_not_both_given_and_varied(short: dict[str, Any]) -> None:
    with pytest.raises(TunemaxError, match="vary n_embd: given a value of its own, too"):
        task_of("Tiny-v1", {"n_embd": 8}, vary=WIDTHS)
    with pytest.raises(TunemaxError, match="vary horizon: given a value of its own, too"):
        task_of("Tiny-v1", vary={"horizon": [10, 20]}, horizon=20)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"softmax_variant": "softmax"}, "instance odd: control gain: means nothing with softmax_variant = softmax"),
        ({"softmax_variant": "polymax"}, "instance odd: control gain: means nothing"),
        ({"softmax_variant": "softmx"}, "instance odd: softmax_variant = softmx: no such variant; did you mean"),
        ({"polymax.power": 2}, "instance odd: polymax.power: means nothing with softmax_variant = constantmax"),
        ({"decay_fraction": 0.5}, "instance odd: decay_fraction: means nothing with schedule = linear"),
        ({"constantmax.learn_beta": True}, "instance odd: constantmax.learn_beta: actions move what SGD would"),
        ({"n_head": 3}, "instance odd: n_embd = 8 is not divisible by n_head = 3"),
        ({"n_layers": 3}, "instance odd: n_layers: no such field; did you mean `n_layer`"),
        ({"block_size": 10**6}, "instance odd: block_size = 1000000: expected a whole number"),
        ({"dataset": "nowhere"}, "dataset = nowhere: neither a known dataset"),
    ],
)
def test_an_instance_that_does_not_fit_is_refused_in_one_line(size: dict[str, Any], message: str, tiny: Make) -> None:
    steering = Steering(tiny())
    with pytest.raises(TunemaxError, match=message) as caught:
        steering.start({0: Instance("odd", 1, (0.0, 0.5), 12, size=size)})
    assert "\n" not in str(caught.value)
    assert not steering.begun(0)


def test_a_text_too_short_for_its_sets_is_refused_in_one_line(tmp_path: Path, short: dict[str, Any]) -> None:
    text = tmp_path / "short.txt"
    text.write_text("a word and another one.\n" * 8)
    env = gymnasium.make("tunemax.envs:tunemax/Tiny-v1", config={"dataset": str(text)}, **{**short, "windows": 1})
    with pytest.raises(
        TunemaxError, match=r"instance train/\d+: its part of .* has .* tokens, and a window needs"
    ) as no:
        env.reset(seed=1)
    assert "\n" not in str(no.value)


def test_a_range_is_drawn_by_its_logarithm_and_shown_so() -> None:
    varied = Varied.of("weight_decay", {"low": 0.01, "high": 1}).checked("weight_decay", 0.1)
    assert varied.draw(0.5) == pytest.approx(0.1)
    assert varied.unit(0.1) == pytest.approx(0)
    assert varied.unit(varied.draw(0.75)) == pytest.approx(0.5)
    from_zero = Varied.of("dropout", {"low": 0, "high": 0.4}).checked("dropout", 0.0)
    assert from_zero.draw(0.5) == pytest.approx(0.2)
    assert np.isfinite(from_zero.unit(0.0))
