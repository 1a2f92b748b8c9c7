"""Published agents: small files that act and cannot learn on, each with a card, and called by their names.

They lie in `published` here; `publish` makes both files of the folder of a training.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic

from tunemax.envs.agents import file
from tunemax.envs.agents.agent import BEST, Agent
from tunemax.envs.agents.file import Learning, Spent, best_of
from tunemax.envs.agents.hyperparameters import Algorithm
from tunemax.envs.agents.scene import Scene
from tunemax.envs.agents.training import last_of
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.fields import explain
from tunemax.gpt.files import write_whole
from tunemax.gpt.paths import inside, path_typed

PUBLISHED = Path(__file__).parent / "published"
NAME = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")


class Score(pydantic.BaseModel):
    """Where an agent stands between the best static setting, 0, and an oracle, 1, with its 95 % interval."""

    model_config = pydantic.ConfigDict(frozen=True)

    value: float
    low: float
    high: float


class Card(pydantic.BaseModel):
    """What should be known of an agent before it steers anything.

    environment: with its arguments, and the version in its id. controls: what it moves. seed: of this one; seeds: of
    all that were judged with it. steps: of the environment when it was saved. validation_return: in nats. score and
    verdict: of all seeds, on held-out instances. compute: member-steps of its training. versions: of what it was made
    with.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    name: str
    environment: Scene
    controls: tuple[str, ...]
    algorithm: Algorithm
    seed: int
    seeds: tuple[int, ...]
    steps: int
    validation_return: float
    learning: Learning
    score: Score | None = None
    verdict: tuple[str, ...] = ()
    compute: Spent
    versions: dict[str, str]


def publish(folder: Path, name: str, out: Path, verdict: Mapping[str, Any] | None = None) -> Card:
    """Write the best agent of a training's folder as `name.safetensors`, its policy alone, and its card `name.json`.

    verdict: what `tunemax rl evaluate --json` says of a set, for seeds, score and sentences. Raises TunemaxError for a
    name that is none or is taken, and for an agent that has not learned.
    """
    if not NAME.fullmatch(name):
        raise TunemaxError(f"name = {name}: expected small letters and digits, joined by _ or -")
    agent = Agent.load(folder)
    learning, header = agent.header.learning, agent.header
    if learning is None or not learning.learned:
        found = learning.sentence if learning else "nobody has checked whether it has learned; run its training again"
        raise TunemaxError(f"{folder}: {found}; nothing is published")
    spent = (last_of(folder) or header).spent  # the best is as dear as the whole training that it was found in
    contender = folder.resolve().name.removesuffix(f"-{header.seed}")
    judged = {"seeds": (header.seed,), **(_judged(verdict, contender) if verdict else {})}
    card = Card(
        name=name,
        environment=header.scene,
        controls=header.controls,
        algorithm=header.algorithm,
        seed=header.seed,
        steps=header.steps,
        validation_return=best_of(header.evaluations).total,
        learning=learning,
        compute=spent,
        versions=header.versions,
        **judged,
    )
    paths = [inside(out, f"{name}.safetensors"), inside(out, f"{name}.json")]
    if there := [path for path in paths if path.exists()]:
        raise TunemaxError(f"{there[0]}: exists; take another name, or remove it")
    out.mkdir(parents=True, exist_ok=True)
    state, tensors = agent.acting()
    small = {"state": state, "counts": {}, "spent": spent, "evaluations": (best_of(header.evaluations),)}
    file.save(header.model_copy(update=small), tensors, paths[0])
    write_whole(paths[1], (card.model_dump_json(indent=1) + "\n").encode())
    return card


def cards(folder: Path | None = None) -> list[Card]:
    """Of all agents in a folder, by default of those that come with tunemax, by name. Raises TunemaxError for a card
    that is damaged."""
    return [card_of(path) for path in sorted((folder or PUBLISHED).glob("*.json"))]


def card_of(path: Path) -> Card:
    try:
        return Card.model_validate_json(path.read_bytes())
    except pydantic.ValidationError as error:
        raise TunemaxError(f"{path}: not the card of an agent ({explain(error)}); mend it") from error


def find(given: str) -> Path:
    """The file of an agent: in a folder, itself, or of a published one by its name.

    Raises TunemaxError if there is none.
    """
    path = path_typed(given)
    if path.is_dir():
        return path / BEST
    if path.exists():
        return path
    names = [known.stem for known in PUBLISHED.glob("*.safetensors")]
    if given in names:
        return inside(PUBLISHED, f"{given}.safetensors")
    near = did_you_mean(given, names)
    raise TunemaxError(f"{given}: no agent here; train one with tunemax rl train, or see tunemax rl agents{near}")


def _judged(verdict: Mapping[str, Any], contender: str) -> dict[str, Any]:
    """What a verdict says of an agent's contender. Raises TunemaxError if it says nothing."""
    lines = {line["name"]: line for line in verdict["lines"] if line["role"] == "agent"}
    if contender not in lines:
        raise TunemaxError(f"verdict: has no agent {contender}{did_you_mean(contender, lines)}")
    runs = lines[contender].get("by_run") or lines[contender].get("by_seed") or {}
    scores = {score["name"]: Score.model_validate(score) for score in verdict.get("scores", ())}
    of_it = re.compile(rf"\b{re.escape(contender)}\b")
    return {
        "seeds": tuple(int(label.rpartition(" ")[2]) for label in runs),
        "score": scores.get(contender),
        "verdict": tuple(sentence for sentence in verdict["sentences"] if of_it.search(sentence)),
    }
