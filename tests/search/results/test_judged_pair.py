"""What the words of a judgement name, and what two sides must share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.record import CONFIG
from tunemax.search.cli import main
from tunemax.search.results.judged_pair import check_same_text, sides
from tunemax.search.storage.questions import Question

Ask = Callable[..., Question]
SMALL: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 4, "max_iters": 20}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


def test_files_of_fields(base: Path, tmp_path: Path, text: Path) -> None:
    other = tmp_path / "Warm Start.json"
    other.write_text(json.dumps(SMALL | {"warmup_fraction": 0.3, "dataset": text.name}))
    (tmp_path / text.name).write_bytes(text.read_bytes())
    a, b = sides(base, str(other), {"dataset": str(text), "n_layer": 2})
    assert [side.name for side in (a, b)] == ["base", "warm-start"]
    assert a.config == Config.of(SMALL | {"dataset": str(text), "n_layer": 2})
    assert b.config == a.config.replace({"warmup_fraction": 0.3})
    with pytest.raises(
        TunemaxError, match=r"^dataset: base is of python_stdlib and warm-start of .*words\.txt; losses"
    ):
        sides(base, other, {})


def test_one_word_twice_gets_two_names(base: Path) -> None:
    a, b = sides(base, base, {})
    assert (a.name, b.name, a.config == b.config) == ("base-a", "base-b", True)


def test_a_run_and_its_checkpoint_are_of_the_text_that_they_were_trained_on(tmp_path: Path, text: Path) -> None:
    flags = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
    run = str(tmp_path / "run")
    words = ["train", *flags, "--dataset", str(text), "--out_dir", run, "--no-tensorboard", "--seed", "3"]
    assert main(words) == 0
    checkpoint = next(Path(run).glob("*.safetensors"))
    a, b = sides(run, checkpoint, {"max_iters": 40})
    assert a.data == b.data == json.loads((Path(run) / CONFIG).read_text())["data"]
    assert (
        a.config
        == b.config
        == Config.of(SMALL | {"dataset": str(text), "seed": 3, "max_iters": 40, "tensorboard": False})
    )
    assert a.config.log.out_dir == ""
    with pytest.raises(
        TunemaxError, match=f"run: was trained on .*words.txt with fingerprint {a.data[:12]}, which is 0"
    ):
        check_same_text(a, b, "0" * 64)
    assert sides(run, run, {"dataset": str(text)})[0].data is None


def test_trials_are_what_they_have_trained(ask: Ask, work: Callable[..., Any], where: str) -> None:
    question = ask()
    work(question)
    a, b = sides("q/softmax", "q/polymax#1", {}, where)
    assert [side.name for side in (a, b)] == ["softmax", "polymax-1"]
    assert a.data == b.data == question.definition.fingerprint
    assert [side.config.model.softmax_variant for side in (a, b)] == ["softmax", "polymax"]
    assert b.config.train.learning_rate == question.study("q/polymax").trials[1].params["learning_rate"]
    with pytest.raises(TunemaxError, match="study q/softmx: not in this storage"):
        sides("q/softmx", "q/polymax", {}, where)


def test_candidates_of_a_study_file(study_file: Callable[..., Path]) -> None:
    file = study_file()
    a, b = sides(f"{file}/softmax", f"{file}/polymax", {})
    assert [side.name for side in (a, b)] == ["softmax", "polymax"]
    assert [side.config.train.max_iters for side in (a, b)] == [20, 20]
    assert a.config.train.learning_rate == 0.005
    assert a.notes == (f"{file}/softmax: what its study searches is at its default: learning_rate 0.005",)
    with pytest.raises(
        TunemaxError, match=r"q\.yaml/sofmax: .*q\.yaml has no candidate sofmax; did you mean `softmax`"
    ):
        sides(f"{file}/sofmax", f"{file}/polymax", {})
    with pytest.raises(
        TunemaxError, match=r"q\.yaml: a study file; name one of its candidates, such as .*q\.yaml/softmax"
    ):
        sides(file, f"{file}/polymax", {})


def test_candidates_of_a_study_file_that_comes_with_tunemax(
    ask: Ask, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless there is a question of that name, which has been tuned."""
    monkeypatch.chdir(tmp_path)
    a, b = sides("exploration/softmax", "exploration/constantmax", {})
    assert (a.name, b.name, a.config.train.max_iters, a.config.train.compile) == ("softmax", "constantmax", 3000, True)
    ask(name="exploration")
    with pytest.raises(TunemaxError, match="exploration/softmax: no trial is complete yet"):
        sides("exploration/softmax", "exploration/polymax", {}, where)


@pytest.mark.parametrize(
    ("changes", "given", "expected"),
    [
        ({"max_iters": 10}, {}, "^max_iters: base trains 20 iterations and other 10; say --max_iters for both$"),
        ({"eval_tokens": 256}, {}, "^eval_tokens: base has 81920 and other 256, .* say --eval_tokens for both$"),
        ({"n_embed": 8}, {}, r"other.yaml:5: n_embed: no such field; did you mean `n_embd`\?$"),
        ({"n_layer": 0}, {}, r"other.yaml:6: n_layer = 0"),
        ({}, {"momentum": "0.5"}, "^momentum = 0.5: means nothing with optimizer = adamw; leave it out"),
        ({}, {"n_embd": 15}, "base.yaml: n_embd = 15"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(
    changes: dict[str, Any], given: dict[str, Any], expected: str, base: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(SMALL | changes))
    with pytest.raises(TunemaxError, match=expected) as raised:
        sides(base, other, given)
    assert "\n" not in str(raised.value)


def test_a_field_of_a_part_that_one_side_has_may_be_given(base: Path) -> None:
    a, b = sides(base, SMALL | {"optimizer": "sgd"}, {"momentum": 0.5})
    assert dict(b.config.optimizer)["momentum"] == 0.5
    assert a.config == Config.of(SMALL)


def test_a_word_that_names_nothing_says_what_can_be_named(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TunemaxError, match=r"^nope: no such file or folder, and there is no database of studies here;"):
        sides(base, "nope", {})
    with pytest.raises(TunemaxError, match=r"^nope\.yaml: no such file"):
        sides("nope.yaml", base, {})
