"""The first commands of the reference sandbox, as docs/sandbox.md has them, and the study file that asks the same."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.data import Corpus
from tunemax.search.cli import main
from tunemax.search.cli.command_line import build
from tunemax.search.cli.flags import config_from
from tunemax.search.question.packaged import packaged
from tunemax.search.question.study_file import define, load_study_file
from tunemax.search.results.leaderboard import leaderboard
from tunemax.search.storage.questions import create
from tunemax.search.workers.events import Event

DOCUMENT = (Path(__file__).parents[3] / "docs/sandbox.md").read_text()
COMMANDS = re.findall(r"^tunemax (train .*--tensorboard_run_name .*)$", DOCUMENT, flags=re.MULTILINE)
VARIANTS = ("constantmax", "softermax", "softmax")
SMALL = "--max_iters 4 --n_layer 1 --n_head 2 --n_embd 16 --block_size 16 --batch_size 2 --eval_tokens 128 --no-compile"


def test_there_are_three_of_them() -> None:
    assert [shlex.split(line)[-2] for line in COMMANDS] == list(VARIANTS)
    for line in COMMANDS:
        fields = config_from(build().parse_args(shlex.split(line)))
        config = Config.of(fields)
        assert (config.train.max_iters, config.model.block_size, config.train.compile) == (3000, 256, True)


@pytest.mark.parametrize(("line", "variant"), list(zip(COMMANDS, VARIANTS, strict=True)))
def test_each_trains_its_variant_and_is_seen_in_tensorboard_under_its_name(
    line: str, variant: str, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*shlex.split(line), *SMALL.split(), "--dataset", str(text)]) == 0
    (run,) = tmp_path.glob("**/config.json")
    assert json.loads(run.read_text())["config"]["softmax_variant"] == variant
    assert list(tmp_path.glob(f"**/exploration/{variant}/events.out.tfevents*"))


def test_the_study_file_trains_the_same(
    corpus: Corpus, work: Callable[..., list[Event]], where: str, text: Path
) -> None:
    file = packaged()["exploration"]
    definition = load_study_file(file)
    asked = {
        name.rpartition("/")[2]: Config.of(fixed).replace({"tensorboard_project": ""}).identity
        for name, fixed in definition.siblings().items()
    }
    typed = [config_from(build().parse_args(shlex.split(line))) for line in COMMANDS]
    alone = {variant: Config.of(fields).identity for variant, fields in zip(VARIANTS, typed, strict=True)}
    assert asked == alone

    small: dict[str, Any] = yaml.safe_load(file.read_text())
    own = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 2, "eval_tokens": 128}
    small["base"] |= own | {"eval_interval": 2, "compile": False, "device": "cpu"}
    small |= {"data": str(text), "budget": {"horizon": 4}}
    question = create(where, define(small, name="exploration"), corpus)
    work(question)
    board = leaderboard(question)
    assert {(entry.name, entry.complete) for entry in board.entries} == {(name, 1) for name in VARIANTS}
    assert set(own) <= all_specs().keys()
