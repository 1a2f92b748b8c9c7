"""A configuration that is handed on in a file, and a definition that is a study file again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunemax.gpt.config import PARTS
from tunemax.search.cli import main
from tunemax.search.question.study_file import load_study_file
from tunemax.search.storage.questions import Question, load_from

SIZES = {
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 16,
    "block_size": 16,
    "batch_size": 4,
    "max_iters": 4,
    "tensorboard": False,
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def recorded(folder: str) -> dict[str, Any]:
    return dict(json.loads(Path(folder, "config.json").read_text())["config"])


def test_a_file_of_fields_is_trained_and_flags_change_it(text: Path) -> None:
    Path("mine.yaml").write_text(yaml.safe_dump({**SIZES, "dataset": str(text), "softmax_variant": "constantmax"}))
    assert main(["train", "--config", "mine.yaml", "--constantmax.gamma=50", "--out_dir=a"]) == 0
    first = recorded("a")
    assert (first["n_embd"], first["softmax_variant"], first["constantmax.gamma"]) == (16, "constantmax", 50)
    Path("mine.json").write_text(json.dumps({**SIZES, "dataset": str(text), "seed": 3}))
    assert main(["train", "--config", "mine.json", "--out_dir=b"]) == 0
    assert recorded("b")["seed"] == 3


@pytest.mark.parametrize("what", ["a", "a/config.json"])
def test_a_run_is_trained_again_elsewhere(what: str, text: Path) -> None:
    words = [f"--{name}={value}" for name, value in SIZES.items() if name != "tensorboard"]
    assert main(["train", *words, "--no-tensorboard", f"--dataset={text}", "--out_dir=a"]) == 0
    assert main(["train", "--config", what, "--out_dir=b"]) == 0
    first, second = recorded("a"), recorded("b")
    assert {**first, "out_dir": ""} == {**second, "out_dir": ""}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("n_layr: 3", "n_layr: no such field; did you mean `n_layer`?"),
        ("question: Which?", "mine.yaml: a study file; run it with tunemax study run mine.yaml"),
        ("- 3", "mine.yaml: expected fields with their values"),
        ("", "mine.yaml: expected fields with their values"),
        ("n_layer: {a: 1}", "n_layer = "),
        ("n_layer: [", "mine.yaml:"),
        ("learning_rate: fast", "learning_rate = fast: expected a number > 0"),
        *(
            (f"n_layer: 1\n{name}: mine", f"mine.yaml:2: {name} = mine: no such {family.noun}")
            for name, family in PARTS.items()
        ),
    ],
)
def test_a_wrong_file_is_one_line(content: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text(content)
    assert main(["train", "--config", "mine.yaml"]) == 2
    line = capsys.readouterr().err
    assert told in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("other", [["--resume", "a"], ["--from", "q"]])
def test_one_place_to_start_from(other: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", "mine.yaml", *other]) == 2
    assert "both say where to start; give one of them" in capsys.readouterr().err


def test_what_is_shown_as_yaml_is_a_study_file(
    ask: Callable[..., Question], where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(
        confirm={"seeds": 8},
        space={"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "weight_decay": [0.0, 0.1]},
    )
    assert main(["study", "show", "q", "--yaml", "--storage", where]) == 0
    Path("again.yaml").write_text(capsys.readouterr().out)
    again, stored = load_study_file("again.yaml"), load_from(where, "q").definition
    assert again.with_fingerprint(str(stored.fingerprint)) == stored


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("n_embd: sixteen", "n_embd = sixteen: expected a whole number"),
        ("n_embdd: 16", "n_embdd: no such field; did you mean `n_embd`?"),
        ("schedule: cosinus", "schedule = cosinus: expected one of cosine"),
        ("max_iters: 0", "max_iters = 0: expected a whole number ≥ 1"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_line(
    line: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "fields.yaml"
    file.write_text(f"n_layer: 1\n# width\n{line}\n")
    assert main(["train", "--config", str(file)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"tunemax: {file}:3: ")
    assert said in told


VARIANTS = ("softmax", "constantmax", "softermax")
SWEEP = (
    "--no-use_softmax_variant",
    "--use_softmax_variant --softmax_variant constantmax",
    "--softmax_variant=softermax",
)


@pytest.mark.parametrize(("words", "variant"), list(zip(SWEEP, VARIANTS, strict=True)))
def test_the_flags_of_another_code_base_are_taken(words: str, variant: str, text: Path) -> None:
    sizes = [f"--{name}={value}" for name, value in SIZES.items() if name != "tensorboard"]
    logged = ["--tensorboard_project", "sweep", "--tensorboard_run_name", variant, "--out_dir=a", "--no-compile"]
    assert main(["train", *words.split(), *sizes, *logged, f"--dataset={text}"]) == 0
    assert recorded("a")["softmax_variant"] == variant


def test_a_variant_that_is_not_named_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--use_softmax_variant"]) == 2
    assert "add --softmax_variant NAME" in capsys.readouterr().err
