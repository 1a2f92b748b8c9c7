"""``tunemax judge``: processes train, it says what is known and what it cost, and nothing is lost meanwhile."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tunemax.search.api import Interrupted
from tunemax.search.cli import main

SHAPE = (
    "--n_layer 1 --n_head 2 --n_embd 16 --block_size 16 --batch_size 4 --max_iters 16 --eval_tokens 128 --device cpu"
)


@pytest.fixture
def words(tmp_path: Path, text: Path) -> list[str]:
    base, low = tmp_path / "base.yaml", tmp_path / "low.yaml"
    base.write_text("bias: false\n")
    low.write_text("bias: false\nlearning_rate: 1e-5\n")
    where = str(tmp_path / "studies.db")
    return ["judge", str(base), str(low), *SHAPE.split(), "--dataset", str(text), "--storage", where, "--workers", "1"]


def test_the_verdict_the_figures_and_the_cost(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert err == ""
    answer = out[out.index("\nworse: ") :]
    assert answer.startswith("\nworse: low is typically ")
    assert "at 16 iterations of a 1×16 model on words.txt." in " ".join(answer.split())
    rows = [line.split() for line in answer.splitlines() if line.startswith(("base ", "low "))]
    assert [row[0] for row in rows] == ["base", "low"]
    assert float(rows[1][1]) > float(rows[0][1])
    told = " ".join(answer.split())
    assert "Tried first for 2 iterations, on one seed: base " in told
    assert "That is no part of the verdict." in told
    assert "Cost: 12 of at most 48 runs, 192 member-steps, and 4 of the short ones before; about " in told

    assert main([*words, "--json"]) == 0  # nothing is trained again
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["verdict"], found["pairs"], found["a"], found["b"], err) == ("worse", 6, "base", "low", "")
    assert found["cost"]["runs"] == 12


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("--seeds 5", "--seeds = 5: no verdict comes of less than 6 seeds of each side; expected at least 6"),
        ("--margin 0", "--margin = 0: expected a share above 0, up to 0.2; 0.005 is half a percent"),
        ("--short 3", "--short = 3: expected a part of the horizon 16, such as 2 or 4"),
        ("--max_iter 8", "--max_iter: no such flag; did you mean `--max_iters`?"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_is_written(
    more: str, expected: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, *more.split()]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"tunemax: {expected}\n")
    assert not (tmp_path / "studies.db").exists()


def test_ctrl_c_says_that_the_same_command_goes_on(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise Interrupted("judge-12345678")

    monkeypatch.setattr("tunemax.search.api.judge", interrupted)
    assert main(words) == 130
    assert f"nothing is lost; go on with tunemax {shlex.join(words)}" in capsys.readouterr().err
