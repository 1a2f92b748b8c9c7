"""What diverges and what does not: a spike trains on, and a validation loss above the cap has to be seen twice."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tunemax.gpt import run
from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.divergence import Stability, divergence_cap, looked, spiked
from tunemax.gpt.trainer import Trainer

Make = Callable[..., Config]
CAP = 6.0
NEW, OLD = Config.of({"max_iters": 100}), Config.of({"max_iters": 100, "eval_by": "windows"})


def reasons(config: Config, losses: list[float]) -> list[str | None]:
    """What a look at each of these validation losses tells, every ten iterations."""
    stability, found = Stability(), []
    for place, loss in enumerate(losses, 1):
        event, stability = looked(config, stability, CAP, 10 * place, loss)
        found.append(event.reason if event else None)
    return found


def test_a_single_look_above_the_cap_is_no_divergence() -> None:
    assert reasons(NEW, [3, 7, 3, 7, 3, 6.0, 7, 3]) == [None] * 8


def test_two_looks_in_a_row_are() -> None:
    *before, last = reasons(NEW, [3, 7, 3, 7, 8.5])
    assert before == [None] * 4
    assert last == "diverged: validation loss 8.5 above 6 at two looks in a row"


def test_at_the_horizon_one_is() -> None:
    *before, last = reasons(NEW, [3] * 9 + [7])
    assert before == [None] * 9
    assert last == "diverged: validation loss 7 above 6 at the horizon"


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_validation_loss_that_is_not_finite_is_at_once(loss: float) -> None:
    assert reasons(NEW, [3, loss])[1] == f"diverged: validation loss is {loss}"


def test_the_same_look_taken_twice_is_one_look() -> None:
    _, once = looked(NEW, Stability(), CAP, 10, 7)
    assert looked(NEW, once, CAP, 10, 7) == (None, once)
    assert looked(NEW, once, CAP, 20, 7)[0] is not None


def test_by_the_old_rule_any_look_above_the_cap_is() -> None:
    assert reasons(OLD, [3, 7]) == [None, "diverged: validation loss above the cap"]


@given(st.lists(st.floats(0, 20), min_size=1, max_size=30), st.integers(1, 7))
def test_spikes_are_counted_however_many_iterations_are_looked_at_together(losses: list[float], at_once: int) -> None:
    counted = Stability()
    for start in range(0, len(losses), at_once):
        part = torch.tensor(losses[start : start + at_once], dtype=torch.float64)
        counted = spiked(counted, CAP, start, part)
    above = [(at, loss) for at, loss in enumerate(losses, 1) if loss > CAP]
    assert counted.spikes == len(above)
    assert counted.highest_spike == max((loss for _, loss in above), default=0.0)
    assert counted.first_spike == (above[0][0] if above else 0)


# --- in a training

WILD = {"learning_rate": 2, "grad_clip": 0, "warmup_fraction": 0, "schedule": "constant"}


def test_a_spike_of_the_training_loss_trains_on_and_is_counted(small: Make, corpus: Corpus) -> None:
    trainer = Trainer(small(), corpus)
    fields = {**WILD, "divergence_margin": 0.5}
    new, old = trainer.add(small(**fields)), trainer.add(small(**fields, eval_by="windows"))
    losses = []
    for _ in range(10):
        trainer.step()
        losses.append(new.train_loss)
    cap = divergence_cap(new.config, corpus)
    above = [at for at, loss in enumerate(losses, 1) if loss > cap]
    assert new.event is None
    assert (new.stability.spikes, new.stability.first_spike) == (len(above), above[0])
    assert new.stability.highest_spike == max(losses)
    assert old.event is not None
    assert old.event.iteration == above[0]


def test_spikes_and_looks_are_in_a_snapshot(small: Make, corpus: Corpus) -> None:
    config = small(**WILD, divergence_margin=0.5)
    trainer = Trainer(config, corpus)
    member = trainer.add(config)
    trainer.step(5)
    member.look(50.0, CAP)
    fork = trainer.restore(trainer.snapshot(member))
    assert fork.stability == member.stability
    assert fork.stability.look_above == 5
    trainer.step(1)
    fork.look(50.0, CAP)
    assert fork.event is not None


FIELDS: dict[str, Any] = {"max_iters": 12, "eval_interval": 4, "log_interval": 4, "compile": False}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / run.LOG).read_text().splitlines()]


def test_a_run_ends_at_the_second_look_above_the_cap(small: Make, tmp_path: Path) -> None:
    config = small(**FIELDS, **WILD, divergence_margin=0.2, out_dir=str(tmp_path / "run"))
    result = run.train(config, lambda row: None)
    assert result.event is not None
    assert result.event.endswith("at two looks in a row")
    assert result.iteration == 8
    assert [row["iteration"] for row in lines(result.folder)] == [4, 8]
    assert result.stability.spikes == lines(result.folder)[-1]["spikes"] > 0


def test_a_run_that_was_interrupted_counts_on(small: Make, tmp_path: Path) -> None:
    """One look above the cap before the interrupt and one after it are two in a row."""
    fields = {**FIELDS, **WILD, "divergence_margin": 0.2, "max_iters": 8}
    whole = run.train(small(**fields, out_dir=str(tmp_path / "whole")), lambda row: None)

    def interrupt(row: run.Row) -> None:
        if row.iteration == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.train(small(**fields, out_dir=str(tmp_path / "run")), interrupt)
    resumed = run.resume(tmp_path / "run", {}, lambda row: None)
    assert (resumed.event, resumed.stability) == (whole.event, whole.stability)
    assert resumed.event is not None
