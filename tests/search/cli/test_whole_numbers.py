"""Whole numbers as people write them, wherever one is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.numbers import MOST, whole_number
from tunemax.search.cli import main
from tunemax.search.question.study_file import load_study_file

SMALL = ["--n_layer=1", "--n_head=2", "--n_embd=16", "--block_size=16", "--batch_size=4", "--no-tensorboard"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("15000", 15000),
        ("15e3", 15000),
        ("1.5E+4", 15000),
        ("007", 7),
        ("1.5", None),
        ("1e-3", None),
        ("1.25e1", None),
        ("", None),
        ("e3", None),
        ("1_000", None),
        (" 1", None),
        ("nan", None),
        ("9" * 5000, None),
        ("1e999999999", None),
    ],
)
def test_what_is_a_whole_number(text: str, number: int | None) -> None:
    assert whole_number(text) == number


FIELDS = ["max_iters", "batch_size", "eval_interval", "log_interval", "eval_tokens", "eval_iters"]


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_takes_an_exponent_and_no_number_that_cannot_be(name: str) -> None:
    assert Config.of({name: "64e2"}).flat()[name] == 6400
    for much in (str(10**30), "1e17", MOST + 1):
        with pytest.raises(
            TunemaxError, match=rf"^{name} = 1000\d*: expected a whole number ≥ \d, and no more than 1,"
        ):
            Config.of({name: much})


@pytest.mark.parametrize("number", ["1e16", "10000000000000000"])
def test_a_number_that_cannot_be_is_refused_wherever_it_stands(
    number: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    study_file: Callable[..., Path],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(f"n_layer: 1\nbatch_size: {number}\n")
    study = study_file(base={"eval_interval": 12321, "batch_size": None}, space={"batch_size": [4, 45654]})
    base, space = (study.read_text().replace(wrong, number) for wrong in ("12321", "45654"))
    Path("base.yaml").write_text(base.replace("45654", "8"))
    Path("space.yaml").write_text(space.replace("12321", "10"))
    refused = f"{10**16}(:|,) expected a whole number ≥ 1, and no more than 1,000,000,000,000,000"
    for words, where in [
        (f"train --batch_size {number}", "batch_size"),
        ("train --config c.yaml", "c.yaml:2: batch_size"),
        ("study run base.yaml", r"base.yaml:\d+: base.eval_interval"),
        ("study run space.yaml", r"space.yaml:\d+: space.batch_size"),
        (f"rl headroom --env Constantmax-v1 --set batch_size={number}", "batch_size"),
    ]:
        assert main(words.split()) == 2
        assert re.match(rf"tunemax: {where}.*{refused}", capsys.readouterr().err)


def test_what_no_text_has_is_the_whole_slice() -> None:
    """`eval_iters` within bounds stands for `eval_tokens` within bounds."""
    config = Config.of({"eval_iters": MOST, "batch_size": 64})
    assert Config.of(config.flat()) == config
    assert config.train.eval_tokens == MOST


@pytest.mark.parametrize("flag", ["study run q --seconds", "study extend q --trials", "rl train --env X --steps"])
@pytest.mark.parametrize("much", ["1e30", str(10**30), "1.5", "-3"])
def test_a_flag_takes_no_number_that_cannot_be(flag: str, much: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*flag.split(), much]) == 2
    assert f"{flag.split()[-1]} = {much}: expected a whole number ≥ 1" in capsys.readouterr().err


def test_flags_and_files_take_the_same(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, study_file: Callable[..., Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SMALL, f"--dataset={text}", "--max_iters=1e1", "--out_dir=r"]) == 0
    file = study_file(budget={"trials": 2, "horizon": 20}, confirm={"seeds": 12, "runs": 100})
    written = file.read_text()
    file.write_text(written.replace("100", "1e2").replace("horizon: 20", "horizon: 2e1"))
    definition = load_study_file(file)
    assert definition.confirm
    assert (definition.confirm.runs, definition.budget.horizon) == (100, 20)
    assert "1e2" in file.read_text()
