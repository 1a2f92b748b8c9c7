"""`tunemax study import`: what is printed, what is written, and what is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunemax.search.cli import main
from tunemax.search.question.study_file import load_study_file

SWEEP = """[
\t{
\t\t"max_iters": ["40"], "n_layer": ["1"], "n_head": ["2"], "n_embd": ["16"], "block_size": ["16"],
\t\t"batch_size": ["4"], "device": ["cpu"], "eval_iters": ["20"],
\t\t"softmax_variant_attn": ["softmax", "consmax"],
\t\t"consmax_initial_beta": ["1.0", "2.5"],
\t\t"dataset": ["minipile"]
\t}
]
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("My sweep.json").write_text(SWEEP)


def test_a_study_is_printed_and_what_is_left_out_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "import", "My sweep.json", "--data", "python_stdlib"]) == 0
    out, err = capsys.readouterr()
    Path("mine.yaml").write_text(out)
    definition = load_study_file("mine.yaml")
    assert (definition.name, definition.budget.trials, definition.data) == ("my_sweep", 3, "python_stdlib")
    assert out.startswith("# My sweep.json: 4 combinations, 1 duplicate of others, 3 trainings\n")
    for line in (
        "line 4: device: left out, decided by the machine that trains",
        "line 4: eval_iters: left out, measured on eval_tokens of the text here",
        "means nothing in 2 of 4 combinations",
        "My sweep.json: 4 combinations, 1 duplicate of others, 3 trainings",
        "my_sweep: 1 study, a grid of 3 trials",
    ):
        assert line in err


def test_a_file_is_written_whole_and_never_over_another(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["study", "import", "My sweep.json", "--data", "python_stdlib", "--out", "studies/mine.yaml"]
    assert main(words) == 0
    assert "studies/mine.yaml: run it with tunemax study run studies/mine.yaml" in capsys.readouterr().out
    written = Path("studies/mine.yaml").read_text()
    assert load_study_file("studies/mine.yaml").name == "mine"
    Path("studies/mine.yaml").write_text("mine\n")
    assert main(words) == 2
    assert "studies/mine.yaml: is there already" in capsys.readouterr().err
    assert Path("studies/mine.yaml").read_text() == "mine\n"
    assert main([*words, "--force"]) == 0
    assert Path("studies/mine.yaml").read_text() == written


def test_a_refusal_has_file_and_line_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "import", "My sweep.json", "--out", "mine.yaml"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("tunemax: My sweep.json:7: dataset = minipile: not here")
    assert err.endswith("choose a text with --data NAME_OR_PATH\n")
    Path("bad.json").write_text(SWEEP.replace("consmax_initial", "consmax_intial"))
    assert main(["study", "import", "bad.json", "--data", "python_stdlib", "--out", "mine.yaml"]) == 2
    told = "consmax_intial_beta: no such setting of the sandbox; did you mean `consmax_initial_beta`?"
    assert capsys.readouterr().err == f"tunemax: bad.json:6: {told}\n"
    assert not Path("mine.yaml").exists()


def test_one_training_is_no_study(capsys: pytest.CaptureFixture[str]) -> None:
    Path("one.yaml").write_text(
        "n_layer: [2]\nsoftmax_variant_attn: consmax\n---\nn_layer: 2\nsoftmax_variant_attn: [consmax]\n"
    )
    assert main(["study", "import", "one.yaml"]) == 2
    err = capsys.readouterr().err
    assert "one.yaml: one training, which is no study; run it with tunemax train" in err
    assert "--softmax_variant constantmax" in err


@pytest.mark.parametrize("words", [["none.yaml"], ["."], ["My sweep.json", "--out", "."], []])
def test_what_is_no_file_is_told_in_a_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "import", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
