"""Published agents are small, act as those that they were made of, and have cards that say where they come from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunemax.envs.agents import cards, file, hyperparameters
from tunemax.envs.agents.agent import BEST, LAST, Agent
from tunemax.envs.agents.file import Learning
from tunemax.envs.agents.training import Plan, train_agent
from tunemax.gpt.errors import TunemaxError

SEEN = np.random.default_rng(1).normal(size=(20, 24)).astype(np.float32)
LEARNED = Learning(instances=64, gain=0.1, low=0.05, high=0.15)
VERDICT: dict[str, Any] = {
    "lines": [
        {"name": "sac", "role": "agent", "by_run": {"sac 1": 2.1, "sac 2": 2.2}},
        {"name": "constant", "role": "baseline", "by_run": {"constant": 2.3}},
    ],
    "scores": [{"name": "sac", "value": 0.5, "low": 0.4, "high": 0.6, "instances": 32}],
    "sentences": ["sac is 5 % better than constant.", "tqc is no better.", "One agent of sac has cost 100."],
}


@pytest.fixture
def folder(plan: Callable[..., Plan], tmp_path: Path) -> Callable[..., Path]:
    """That of a training whose agent has learned, or not."""

    def make(algorithm: str = "sac", learning: Learning | None = LEARNED) -> Path:
        where = tmp_path / f"{algorithm}-1"
        train_agent(plan(algorithm, steps=24), where)
        for name in (BEST, LAST):
            header, tensors = file.load(where / name)
            file.save(header.model_copy(update={"learning": learning}), tensors, where / name)
        return where

    return make


@pytest.mark.parametrize("algorithm", hyperparameters.ALGORITHMS)
def test_a_published_agent_acts_as_it_did_and_is_small(
    algorithm: str, folder: Callable[..., Path], tmp_path: Path
) -> None:
    where = folder(algorithm)
    card = cards.publish(where, "mine", tmp_path / "out")
    path = tmp_path / "out" / "mine.safetensors"
    small, whole = Agent.load(path), Agent.load(where)
    assert [small.act(seen).tolist() for seen in SEEN] == [whole.act(seen).tolist() for seen in SEEN]
    assert path.stat().st_size < 80_000
    assert small.learned is True
    assert small.header.spent == file.load(where / LAST)[0].spent == card.compute
    assert cards.cards(tmp_path / "out") == [card]
    assert (card.environment, card.seeds, card.steps) == (whole.header.scene, (1,), whole.header.steps)
    assert card.versions == whole.header.versions


def test_a_card_has_what_a_verdict_says_of_it(folder: Callable[..., Path], tmp_path: Path) -> None:
    card = cards.publish(folder(), "mine", tmp_path, VERDICT)
    assert (card.seeds, card.score) == ((1, 2), cards.Score(value=0.5, low=0.4, high=0.6))
    assert card.verdict == ("sac is 5 % better than constant.", "One agent of sac has cost 100.")
    with pytest.raises(TunemaxError, match="verdict: has no agent tqc; known: sac"):
        cards.publish(folder("tqc"), "other", tmp_path, VERDICT)
    assert not (tmp_path / "other.json").exists()


def test_what_cannot_be_published_is_refused(folder: Callable[..., Path], tmp_path: Path) -> None:
    where = folder()
    for name in ("", "../mine", "Mine", "a b", "-"):
        with pytest.raises(TunemaxError, match="expected small letters and digits"):
            cards.publish(where, name, tmp_path)
    cards.publish(where, "mine", tmp_path)
    with pytest.raises(TunemaxError, match=r"mine.safetensors: exists; take another name, or remove it"):
        cards.publish(where, "mine", tmp_path)
    with pytest.raises(TunemaxError, match="nobody has checked whether it has learned"):
        cards.publish(folder("ppo", None), "other", tmp_path)
    worse = Learning(instances=64, gain=0.1, low=-0.1, high=0.3)
    with pytest.raises(TunemaxError, match=r"did not learn: \+9.5 % .*; nothing is published"):
        cards.publish(folder("dqn", worse), "other", tmp_path)
    assert not list(tmp_path.glob("other*"))


def test_a_published_agent_cannot_learn_on_and_is_refused_when_damaged(
    plan: Callable[..., Plan], folder: Callable[..., Path], tmp_path: Path
) -> None:
    where = folder()
    cards.publish(where, "mine", tmp_path)
    path = tmp_path / "mine.safetensors"
    header, tensors = file.load(path)
    file.save(header, tensors, where / LAST)
    with pytest.raises(TunemaxError, match="a published agent, which acts and cannot learn on"):
        train_agent(plan(steps=48), where)
    lacking = {"items": [["acting", {"items": header.state["items"][0][1]["items"][1:]}]]}
    file.save(header.model_copy(update={"state": lacking}), tensors, path)
    with pytest.raises(TunemaxError, match=r"mine.safetensors: damaged") as caught:
        Agent.load(path)
    assert "\n" not in str(caught.value)
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(TunemaxError, match=r"mine.json: not the card of an agent"):
        cards.cards(tmp_path)


def test_an_agent_is_found_by_folder_file_and_name(
    folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = folder()
    shelf = where.parent / "shelf"
    cards.publish(where, "mine", shelf)
    monkeypatch.setattr(cards, "PUBLISHED", shelf)
    assert cards.find(str(where)) == where / BEST
    assert cards.find(str(where / LAST)) == where / LAST
    assert cards.find("mine") == shelf / "mine.safetensors"
    with pytest.raises(TunemaxError, match=r"minee: no agent here; .* or see tunemax rl agents; did you mean `mine`"):
        cards.find("minee")
    with pytest.raises(TunemaxError, match=r"\.\./shelf/mine: no agent here"):
        cards.find("../shelf/mine")


@pytest.mark.parametrize("card", cards.cards(), ids=lambda card: card.name)
def test_what_comes_with_tunemax_is_as_its_card_says(card: cards.Card) -> None:
    path = cards.find(card.name)
    agent = Agent.load(path)
    assert path.stat().st_size < 200_000
    assert agent.learned is True
    assert (agent.header.scene, agent.header.seed) == (card.environment, card.seed)
    assert (agent.header.controls, agent.header.learning) == (card.controls, card.learning)
    assert json.loads((cards.PUBLISHED / f"{card.name}.json").read_text())["name"] == card.name
