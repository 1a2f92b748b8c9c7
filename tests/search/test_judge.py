"""`judge` from Python: what it says of two configurations, after how many trainings, and how it goes on."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.search import judge
from tunemax.search.api import Interrupted, supervisor
from tunemax.search.cli import main
from tunemax.search.storage import attributes
from tunemax.search.storage.questions import load_from
from tunemax.search.workers.events import Event, Finished
from tunemax.search.workers.worker import Worker

Trained = list[tuple[str, int]]


@pytest.fixture
def trained(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trained]:
    """Training in this process; gives study and trial of all that has ended. `stopping` of the module interrupts."""
    ended: Trained = []

    def run(where: str, name: str, settings: Any, *, seconds: float | None, report: Callable[[Event], None]) -> bool:
        def told(event: Event) -> None:
            if isinstance(event, Finished) and event.state in ("complete", "diverged"):
                ended.append((event.study, event.trial))
            report(event)

        stopping = LIMIT and (lambda: len(ended) >= LIMIT[0])
        Worker(load_from(where, name), corpus, 0, 4, told, stopping or (lambda: False)).run()
        return not LIMIT

    monkeypatch.setattr(supervisor, "run", run)
    monkeypatch.setattr("tunemax.search.api.warm", lambda: None)
    # What a dashboard is told costs more than these trainings
    monkeypatch.setattr("tunemax.search.api.publishing", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr("tunemax.search.api.try_to_publish", lambda *_: None)
    yield ended
    LIMIT.clear()


LIMIT: list[int] = []
"""After so many trials somebody presses Ctrl-C."""


@pytest.fixture
def small(text: Path) -> dict[str, Any]:
    return {
        "n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 4, "max_iters": 16,
        "eval_interval": 8, "eval_tokens": 128, "device": "cpu", "dataset": str(text),
    }  # fmt: skip


def test_what_is_clearly_worse_is_known_after_six_seeds(trained: Trained, small: dict[str, Any], where: str) -> None:
    found = judge(small, small | {"learning_rate": 1e-5}, where)
    assert (found.verdict, found.pairs, found.why_undecided) == ("worse", 6, "")
    assert found.sentence.startswith("b is typically ")
    assert "worse than a in validation loss" in found.sentence
    assert "at 16 iterations of a 1×16 model on words.txt" in found.sentence
    assert (found.short, found.horizon) == (2, 16)
    assert (found.costs.runs, found.costs.member_steps) == (12, 12 * 16)
    assert (found.costs_before.runs, found.costs_before.member_steps) == (2, 2 * 2)
    assert [it.state for it in found.tried] == ["complete"] * 2
    told = found.to_json()
    json.dumps(told, allow_nan=False, default=lambda value: pytest.fail(repr(value)))
    assert (told["verdict"], told["cost"]["runs"], told["cost"]["granted"]) == ("worse", 12, 48)
    assert told["difference"] > 0.005
    assert len(trained) == 14

    again = judge(small, small | {"learning_rate": 1e-5}, where)
    assert again == found
    assert len(trained) == 14


def test_pairs_share_their_seeds_and_what_is_clearly_better_is_known_as_soon(
    trained: Trained, small: dict[str, Any], where: str
) -> None:
    found = judge(small | {"learning_rate": 1e-5}, small, where)
    assert (found.verdict, found.pairs) == ("better", 6)
    assert found.found
    seeds = [[seed_of(trial) for trial in entry.trials] for entry in found.found.entries]
    assert sorted(seeds[0]) == sorted(seeds[1])
    assert len({*seeds[0]}) == 6
    slices = {json.loads(it.system_attrs[attributes.CONFIG])["eval_slice"] for it in found.found.entries[0].trials}
    assert slices == {"confirmation"}


def test_a_difference_within_the_margin_is_none(trained: Trained, small: dict[str, Any], where: str) -> None:
    """On shared seeds the smallest difference is soon known, and of no use."""
    found = judge(small, small | {"weight_decay": 0.11}, where)
    assert (found.verdict, found.pairs) == ("equivalent", 6)
    assert re.search("equals a within 0.5 %|that is equal within 0.5 %", found.sentence)
    told = found.to_json()
    assert told["p_equivalent"] <= 0.05
    assert abs(told["difference"]) < 0.005


def test_one_configuration_is_a_null_check_on_seeds_of_its_own(
    trained: Trained, small: dict[str, Any], where: str
) -> None:
    found = judge(small, dict(small), where, seeds=8, margin=0.2)
    assert found.twins
    assert found.found
    assert found.verdict == "equivalent"
    seeds = [{seed_of(trial) for trial in entry.trials} for entry in found.found.entries]
    assert not seeds[0] & seeds[1]
    losses = [{*entry.losses.values()} for entry in found.found.entries]
    assert not losses[0] & losses[1]


def test_what_is_not_known_within_the_budget_is_undecided_and_goes_on_with_more(
    trained: Trained, small: dict[str, Any], where: str
) -> None:
    found = judge(small, dict(small), where, runs=12, margin=1e-6)
    assert (found.verdict, found.why_undecided, found.pairs) == ("undecided", "budget", 6)
    assert "looked at next with 8" in found.more_seeds
    more = judge(small, dict(small), where, member_steps=16 * 17)
    assert more.found
    assert (more.pairs, more.found.budget) == (8, 17)
    assert len(trained) == 2 + 16
    assert judge(small, dict(small), where, runs=12).pairs == 8  # what was granted stays
    with pytest.raises(TunemaxError, match="begun with 1e-06, which stays"):
        judge(small, dict(small), where, margin=0.01)


def test_what_diverges_is_worse(trained: Trained, small: dict[str, Any], where: str) -> None:
    found = judge(small, small | {"learning_rate": 10.0, "grad_clip": 0.0, "warmup_fraction": 0.0}, where)
    assert (found.verdict, found.pairs) == ("worse", 6)
    assert "b diverged in all 6 runs" in found.sentence


def test_where_all_diverge_more_seeds_are_not_paid(trained: Trained, small: dict[str, Any], where: str) -> None:
    wild = small | {"learning_rate": 10.0, "grad_clip": 0.0, "warmup_fraction": 0.0}
    found = judge(wild, wild | {"weight_decay": 0.0}, where)
    assert (found.verdict, found.why_undecided, found.costs.runs) == ("undecided", "diverged", 12)
    assert (
        found.sentence == "b and a cannot be compared: all 12 runs of both diverged, and more seeds would tell no more."
    )


def test_the_short_horizon_is_judged_if_no_more_is_asked_for(
    trained: Trained, small: dict[str, Any], where: str
) -> None:
    wide = small | {"max_iters": 160}
    found = judge(wide, wide | {"learning_rate": 1e-5}, where, short_only=True)
    assert (found.verdict, found.horizon, found.short) == ("worse", 20, 20)
    assert "at 20 iterations" in found.sentence
    assert found.costs.member_steps == 12 * 20


def test_it_goes_on_where_it_was_interrupted(trained: Trained, small: dict[str, Any], where: str) -> None:
    other = small | {"learning_rate": 1e-5}
    LIMIT.append(7)
    with pytest.raises(Interrupted):
        judge(small, other, where)
    before = len(trained)
    assert 2 <= before < 14
    LIMIT.clear()
    found = judge(small, other, where)
    assert found.verdict == "worse"
    assert len(trained) == len({*trained}) == 14


def test_a_judgement_is_a_question_like_any_other(
    trained: Trained, small: dict[str, Any], where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = judge(small, small | {"learning_rate": 1e-5}, where)
    capsys.readouterr()
    for words in (
        f"study list --storage {where}",
        f"study leaderboard {found.name} --storage {where}",
        f"study show {found.name} --yaml --storage {where}",
        f"study delete {found.name} --yes --storage {where}",
    ):
        assert main(words.split()) == 0
    out = capsys.readouterr().out
    assert "worse than a in validation loss" in out
    assert f"{found.name}: deleted" in out


def seed_of(trial: Any) -> int:
    return Config.stored(json.loads(trial.system_attrs[attributes.CONFIG])).train.seed
