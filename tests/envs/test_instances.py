"""Instances are the same for ever, and no set knows anything of another."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from tunemax.envs.instances import SETS, WRONG, Instance, find_set
from tunemax.envs.steering import Steering
from tunemax.envs.task import Task, task_of
from tunemax.envs.texts import corpus_of
from tunemax.gpt.errors import TunemaxError

Make = Callable[..., Task]


def test_sets_share_no_seed_no_text_and_no_start(tiny: Make) -> None:
    task = tiny()
    drawn = {name: [of.draw(task, index) for index in range(min(of.count, 64))] for name, of in SETS.items()}
    seeds = [instance.seed for instances in drawn.values() for instance in instances]
    starts = [tuple(instance.controls.values()) for instances in drawn.values() for instance in instances]
    assert len(set(seeds)) == len(seeds)
    assert len(set(starts)) == len(starts)
    ranges = sorted((of.seeds_from, of.seeds_from + of.count) for of in SETS.values())
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ranges))
    zones = sorted(
        (min(i.data[0] for i in instances), max(i.data[1] for i in instances)) for instances in drawn.values()
    )
    assert all(end <= start + 1e-12 for (_, end), (start, _) in itertools.pairwise(zones))
    assert zones[0][0] >= 0
    assert zones[-1][1] <= 1


def test_sets_are_measured_on_no_text_that_another_one_is_measured_on(tiny: Make) -> None:
    task = tiny()
    corpus = corpus_of(str(task.config.train.dataset))
    for part in ("tuning", "test"):
        seen: set[bytes] = set()
        for name in SETS:
            own = {instance.measured for instance in (find_set(name).draw(task, index) for index in range(8))}
            assert len(own) == 1
            windows = corpus.windows(part, 8, 200, *own.pop())
            assert len(windows) == 200
            inputs = {window[:-1].tobytes() for window in windows if len(set(window)) > 6}  # no mere blanks
            assert len(inputs & seen) <= 2
            seen |= inputs


def test_ids_of_before_are_measured_on_whole_slices() -> None:
    for name, counts in (("Tiny-v0", (16, 64)), ("Constantmax-v0", (32, 128))):
        task = task_of(name)
        assert (task.windows, task.test_windows) == counts
        assert {find_set(name).draw(task, 0).measured for name in SETS} == {(0.0, 1.0)}


def test_a_text_without_windows_enough_is_refused_with_what_it_takes(tmp_path: Path) -> None:
    def reset(letters: int, **numbers: int) -> None:
        text = tmp_path / f"{letters}.txt"
        text.write_text("".join(f"{place} " for place in range(letters))[:letters])
        gymnasium.make("tunemax.envs:tunemax/Tiny-v1", config={"dataset": str(text)}, set="test", **numbers).reset(
            seed=1
        )

    with pytest.raises(TunemaxError) as refused:
        reset(20_000)
    assert re.search(
        r"instance test/\d+: windows = 32: its part of .*20000.txt has \d+ of 8 tokens; take", str(refused.value)
    )
    needed = re.search(r"a text of about ([\d,]+) tokens, or a smaller block_size$", str(refused.value))
    assert needed
    with pytest.raises(TunemaxError, match="test_windows = 128: its part of"):
        reset(int(1.2 * int(needed[1].replace(",", ""))))
    reset(20_000, windows=2, test_windows=0)


@pytest.mark.parametrize(
    "measured", [(0.5, 0.5), (-0.1, 0.5), (0.5, 1.5), (0.6, 0.2), (0.2,), ("a", "b"), None, [0.2, 0.4]]
)
def test_shares_of_a_text_that_are_none_are_refused(measured: Any, tiny: Make) -> None:
    task = tiny()
    mine = replace(find_set("test").draw(task, 0), measured=measured)
    with pytest.raises(
        TunemaxError, match="expected two shares of a text, the first one below the second, from 0 to 1"
    ):
        Steering(task).start({0: mine})


def test_an_instance_is_a_function_of_set_and_index(tiny: Make) -> None:
    instance = find_set("test").draw(tiny(), 3)
    assert instance == find_set("test").draw(tiny(), 3)
    assert instance.name == "test/3"
    assert instance.seed == 3_000_003
    assert instance.data == pytest.approx((0.7553855028, 0.8053855028))
    assert instance.controls == pytest.approx({"learning_rate": 0.073056678, "constantmax.gamma": 13.5692002})


def test_controls_start_wrong_by_up_to_a_factor_of_ten_either_way(tiny: Make) -> None:
    task = tiny(config={"learning_rate": 1e-2})
    off = [math.log(find_set("train").draw(task, index).controls["learning_rate"] / 1e-2) for index in range(300)]
    assert -WRONG <= min(off) < -0.9 * WRONG
    assert 0.9 * WRONG < max(off) <= WRONG
    assert abs(sum(off) / len(off)) < 0.25


def test_starts_stay_within_the_bounds_of_a_control(tiny: Make) -> None:
    task = tiny(config={"learning_rate": 0.5})
    assert max(find_set("train").draw(task, index).controls["learning_rate"] for index in range(40)) == 1.0


def test_one_control_starts_the_same_whatever_else_is_steered(tiny: Make) -> None:
    one, both = (
        find_set("test").draw(tiny(controls=controls), 5) for controls in (["learning_rate"], ["gain", "learning_rate"])
    )
    assert one.controls["learning_rate"] == both.controls["learning_rate"]


def test_transfer_sets_ask_for_larger_models_and_longer_trainings(tiny: Make) -> None:
    task = tiny()
    larger = find_set("larger").draw(task, 0).config(task)
    assert (larger.model.n_layer, larger.model.n_embd) == (2, 16)
    assert [find_set("longer").draw(task, index).horizon for index in range(3)] == [24, 48, 24]


def test_a_configuration_is_what_the_instance_says(tiny: Make) -> None:
    task = tiny()
    config = Instance("mine", 5, (0.2, 0.4), 8, {"constantmax.gamma": 3.0}, {"n_embd": 16}).config(task)
    assert (config.train.seed, config.train.data_start, config.train.data_end, config.train.max_iters) == (
        5,
        0.2,
        0.4,
        8,
    )
    assert config.flat()["constantmax.gamma"] == 3.0
    assert config.model.n_embd == 16


@pytest.mark.parametrize("index", [-1, 256, 1.5, "3", True])
def test_an_index_outside_the_set_is_refused(index: object, tiny: Make) -> None:
    with pytest.raises(TunemaxError, match="expected a whole number from 0 to 255, an index of set test"):
        find_set("test").draw(tiny(), index)  # type: ignore[arg-type]


def test_an_unknown_set_is_refused() -> None:
    with pytest.raises(TunemaxError, match="set = tets: no such set of instances; did you mean `test`"):
        find_set("tets")
