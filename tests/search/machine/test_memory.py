"""What a worker will need is told before it is started, from a measurement that processes like it make."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import until

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.evaluation import SPAN
from tunemax.gpt.trainer import EVAL_MEMBERS, EVAL_TOKENS, EVAL_WINDOWS, Trainer
from tunemax.search.machine import memory
from tunemax.search.machine.memory import Footprint, estimated, measured
from tunemax.search.machine.processes import WorkerSettings
from tunemax.search.question.study_file import define
from tunemax.search.storage.questions import create
from tunemax.search.workers import supervisor

SIZE = {"n_layer": 2, "n_embd": 64, "n_head": 4, "block_size": 48, "batch_size": 8, "device": "cpu"}
LONG = {**SIZE, "block_size": 128, "batch_size": 1}
"""An evaluation of this takes several times what training does."""


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("size", "slots", "within"),
    [(LONG, 2, 0.15), (LONG, 8, 0.15), (SIZE, 24, 0.15)],
    ids=["evaluate-2", "evaluate-8", "train-24"],
)
def test_a_prediction_is_right(
    size: dict[str, Any], slots: int, within: float, text: Path, corpus: Corpus, tmp_path: Path
) -> None:
    data = str(text)
    predicted = measured([Config.of({**size, "dataset": data})], slots, "default").of(slots)
    plain = {"question": "?", "data": data, "base": {**size, "eval_interval": 5}, "space": {"learning_rate": "default"}}
    definition = define(
        {**plain, "sampler": "random", "pruner": "none", "budget": {"trials": slots, "horizon": 15}}, name="q"
    )
    question = create(tmp_path / "q.db", definition, corpus)
    seen: list[int] = []

    def look(_: object) -> None:
        """At the forked worker, and at the process it is forked from, which is smaller."""
        seen.extend(_most(process.pid) for process in psutil.Process().children(recursive=True))

    assert supervisor.run(question.storage.url, "q", WorkerSettings(1, 1, slots, None), seconds=None, report=look)
    assert predicted == pytest.approx(max(seen), rel=within)


def _most(process: int) -> int:
    """The most bytes it has had resident; 0 of one that has just ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return max((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), default=0)


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> list[list[Config]]:
    """What each trainer of a measurement trains at once; it trains in this process, and not really."""
    seen: list[list[Config]] = []

    def step(trainer: Trainer, n: int = 1) -> None:
        seen.append([member.config for member in trainer.members])

    monkeypatch.setattr(memory, "aside", lambda function, *arguments, route: function(*arguments))
    monkeypatch.setattr(Trainer, "step", step)
    monkeypatch.setattr(Trainer, "evaluate", lambda trainer: {})
    return seen


@pytest.mark.parametrize(("siblings", "slots"), [(7, 1), (3, 2), (2, 5), (1, 40)])
def test_no_more_members_are_trained_than_a_worker_would_and_each_sibling_has_its_turn(
    siblings: int, slots: int, text: Path, stacks: list[list[Config]]
) -> None:
    measured([Config.of({**SIZE, "dataset": str(text), "seed": seed}) for seed in range(siblings)], slots, "default")
    assert max(map(len, stacks)) == min(slots, memory.MOST)
    assert {config.train.seed for stack in stacks for config in stack} == set(range(siblings))


@pytest.mark.parametrize("slots", [1, 2, 5, 40])
def test_all_slots_may_be_of_the_largest_shape(slots: int, text: Path, stacks: list[list[Config]]) -> None:
    depths = [1, 8, 2, 5, 3, 4]
    measured([Config.of({**SIZE, "n_layer": depth, "dataset": str(text)}) for depth in depths], slots, "default")
    most = {depth: max(len(stack) for stack in stacks if stack[0].model.n_layer == depth) for depth in (8, 5, 4)}
    assert most == dict.fromkeys((8, 5, 4), min(slots, memory.MOST))
    assert {config.model.n_layer for stack in stacks for config in stack} == {8, 5, 4}, "the others need less"


def test_siblings_of_other_shapes_are_measured_too(text: Path) -> None:
    """Three members of the large one keep 80 MB more than three of the small one."""
    small, large = (Config.of({**SIZE, "n_layer": layers, "dataset": str(text)}) for layers in (1, 8))
    both = measured([small, large], 3, "default")
    assert both.of(3) > measured([small], 3, "default").of(3) + 30e6


def test_the_guess_of_a_small_batch_is_of_its_evaluation() -> None:
    """Its logits and weights of attention are as many whatever the batch is."""
    small, large = (estimated(Config.of({**LONG, "batch_size": batch})) for batch in (1, 8))
    assert small.of(1) == small.alone + small.evaluation == large.alone + large.evaluation
    assert large.of(1) == large.alone + large.member > small.of(1)


def test_a_worker_that_dies_of_it_is_told_of_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_trained", _killed)
    with pytest.raises(TunemaxError, match=r"^memory: not enough for 8 members of a worker$"):
        measured([Config.of(SIZE)], 8, "default")


def _killed(*_: object) -> list[float]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def test_an_evaluation_grows_with_the_members_that_are_evaluated_together() -> None:
    footprint = Footprint(alone=100, member=10, row=1, evaluation=15)
    assert [footprint.of(slots) for slots in (1, 4, 8, 16, 40)] == [116, 164, 228, 260, 500]
    assert footprint.compiling().of(8) == footprint.of(8) + memory.COMPILER
    assert (memory.TOGETHER, memory.TOKENS) == (EVAL_MEMBERS, EVAL_TOKENS)
    assert EVAL_WINDOWS < memory.WINDOWS < 2 * EVAL_WINDOWS
    assert EVAL_TOKENS < SPAN * memory.SPANS < 2 * EVAL_TOKENS


# --------------------------------------------------------------------------------------------------------------- Ctrl-C

SLOW = """
import sys, time
from tunemax.search.machine.processes import aside
def slow(path):
    open(path, "w").close()
    time.sleep(1000)
if __name__ == "__main__":
    aside(slow, sys.argv[1], route="default")
"""


@pytest.mark.timeout(300)
def test_ctrl_c_ends_a_measurement_with_all_its_processes_and_only_its_starter_speaks(tmp_path: Path) -> None:
    script, begun = tmp_path / "slow.py", tmp_path / "begun"
    script.write_text(SLOW)
    with subprocess.Popen(
        [sys.executable, str(script), str(begun)], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        until(begun.exists)
        group = [each for each in psutil.process_iter() if _group(each) == process.pid]
        assert len(group) > 2
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate()
    assert said.count("Traceback") == 1
    assert said.endswith("KeyboardInterrupt\n")
    until(lambda: not any(_alive(each) for each in group))


def _group(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except OSError:
        return None


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_an_optimizer_that_keeps_less_needs_less() -> None:
    lion, adamw, muon = (estimated(Config.of({**SIZE, "optimizer": name})).member for name in ("lion", "adamw", "muon"))
    assert lion < adamw < muon
