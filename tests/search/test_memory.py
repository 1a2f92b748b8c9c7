"""What a worker will need is told before it is started, from a measurement that a process like it makes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gpt import hardware
from gpt.config import Config
from gpt.errors import TunemaxError
from search import memory
from search.memory import Footprint, free, measured

SIZE = {"n_layer": 2, "n_embd": 64, "n_head": 4, "block_size": 48, "batch_size": 8, "device": "cpu"}
WORKER = """
import json, resource, sys
from gpt import hardware
from search import supervisor
hardware.keep_memory()
import torch
torch.set_num_threads(1)
from gpt.config import Config
from gpt.data import open_data
from gpt.trainer import Trainer
fields, members = json.loads(sys.argv[1]), int(sys.argv[2])
trainer = Trainer(Config.of(fields), open_data(fields["dataset"]))
for seed in range(members):
    trainer.add(Config.of({**fields, "seed": seed}))
for _ in range(2):
    trainer.step(6)
    trainer.evaluate()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.timeout(300)
def test_a_prediction_is_within_15_percent_of_what_a_worker_takes(text: Path) -> None:
    config = Config.of({**SIZE, "dataset": str(text)})
    members = 32
    predicted = measured([config], members, "default").of(members)
    with hardware.large_pages():  # as workers are started
        program = [sys.executable, "-c", WORKER, json.dumps(config.flat()), str(members)]
        ran = subprocess.run(program, capture_output=True, text=True, check=True)
    assert predicted == pytest.approx(int(ran.stdout), rel=0.15)


def test_a_worker_that_dies_of_it_is_told_of_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_train", _killed)
    with pytest.raises(TunemaxError, match=r"^memory: not enough for 4 members of a worker$"):
        measured([Config.of(SIZE)], 8, "default")


def _killed(*_: object) -> list[float]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def test_a_few_members_need_what_their_evaluation_takes() -> None:
    footprint = Footprint(alone=100, member=10, evaluation=150)
    assert [footprint.of(slots) for slots in (1, 5, 6, 10)] == [150, 150, 160, 200]


def test_a_container_may_allow_less_than_the_machine_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    whole = free()
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert free() == 2e6
    (tmp_path / "memory.max").write_text("max\n")
    assert free() == pytest.approx(whole, rel=0.2)
