"""`tunemax prepare`: what is in a text, what was skipped of it, and how far it is; then trained, and sampled."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest

from tunemax.gpt.data import load, open_data
from tunemax.gpt.run import LOG
from tunemax.gpt.text_config import Text
from tunemax.search import create_study, objective, open_study
from tunemax.search.cli import main
from tunemax.search.cli.progress import Progress
from tunemax.search.question.study_file import load_study_file

STORIES = [f"Story {i}: the {'very ' * (i % 7)}quick fox {i * i} jumped over the dog." for i in range(400)]
SIZES = ("--n_layer=1", "--n_head=2", "--n_embd=8", "--block_size=16", "--batch_size=4", "--no-tensorboard")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNEMAX_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    Path("stories.jsonl").write_text("".join(json.dumps({"text": story, "id": 1}) + "\n" for story in STORIES))
    return tmp_path


def test_what_was_skipped_is_told_shortly_and_named_on_request(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = here / "texts"
    (folder / ".git").mkdir(parents=True)
    for i, story in enumerate(STORIES[:100]):
        (folder / f"{i}.txt").write_text(story)
    (folder / "again.txt").write_text(STORIES[3])
    (folder / "picture.png").write_bytes(bytes(range(256)) * 9)
    (folder / "latin.txt").write_bytes("naïve".encode("latin-1") * 20)
    (folder / "empty.txt").touch()
    (folder / "gone.txt").symlink_to("nowhere")
    assert main(["prepare", "texts", "--tokenizer", "bpe", "--vocab_size", "300"]) == 0
    out, err = capsys.readouterr()
    assert Path(out.strip()).is_dir()
    words = " ".join(err.split())
    for part in ("1 hidden", "1 binary", "1 not UTF-8", "1 empty", "1 neither a file nor a folder", "repeat others"):
        assert part in words
    assert "--skipped names them" in words
    assert "vocabulary 300 (bpe)" in words
    assert "bytes a token" in words
    assert "picture.png" not in err
    assert main(["prepare", "texts", "--tokenizer=bpe", "--vocab_size=300", "--skipped"]) == 0
    again = capsys.readouterr()
    assert again.out == out
    named = {"binary: picture.png", "not UTF-8: latin.txt", "empty: empty.txt", "hidden: .git", "not a file: gone.txt"}
    assert named <= set(again.err.splitlines())
    assert main(["prepare", "texts"]) == 0
    assert "not UTF-8" not in capsys.readouterr().err, "bytes are bytes"


def test_documents_that_are_kept_apart_are_counted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "stories.jsonl", "--column", "text", "--documents", "apart"]) == 0
    out, err = capsys.readouterr()
    counts = load(Path(out.strip())).documents
    assert sum(counts.values()) == 400
    assert f"documents, which are kept apart: train {counts['train']}" in " ".join(err.split())


MISTAKES = [
    (["stories.jsonl", "--column", "txt"], "column = txt: no such column in stories.jsonl; did you mean `text`?"),
    (["stories.jsonl", "--tokenizer", "bep"], "tokenizer = bep: no such tokenizer; did you mean `bpe`?"),
    (["stories.jsonl", "--tokenizer", "bpe", "--vocab_size", "256"], "vocab_size = 256: expected a whole number ≥ 257"),
    (["stories.jsonl", "--tokenizer", "bpe", "--vocab_size", "60000"], "take at most so many"),
    (["stories.jsonl", "--vocab_size", "999"], "vocab_size = 999: means nothing with tokenizer = auto"),
    (["stories.jsonl", "--colum", "text"], "--colum: no such flag; did you mean `--column`?"),
    (["http://127.0.0.1:1/x.txt"], "no download from http://127.0.0.1:1/x.txt"),
    (["http://127.0.0.1:1/x.jsonl", "--column", "text"], "no download from"),
    (["nothing.txt"], "neither a known dataset nor a file or folder"),
    (["packed.zst"], ".zst cannot be unpacked here; unpack it, or pack it as .gz, .bz2, .xz"),
    (["few.txt", "--documents", "apart"], "no text for"),
    (["empty"], "no text for train, tuning, confirmation, test; give more text"),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES)
def test_a_mistake_is_one_line(words: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("packed.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    Path("few.txt").write_text("one document alone " * 50)
    Path("empty").mkdir()
    assert main(["prepare", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not [path for path in (here / "data").glob("*") if not path.name.startswith(".")]


def test_a_training_knows_its_tokenizer_to_the_end(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is trained, gone on with, sampled and continued; bits a byte are of the bytes of its targets."""
    text = ["--dataset=stories.jsonl", "--column=text", "--documents=apart", "--tokenizer=bpe", "--vocab_size=300"]
    assert main(["train", *text, *SIZES, "--out_dir=run", "--max_iters=4", "--eval_tokens=0"]) == 0
    corpus = open_data(Text(dataset="stories.jsonl", column="text", documents="apart", tokenizer="bpe", vocab_size=300))
    row = json.loads(Path("run", LOG).read_text().splitlines()[-1])
    targets = corpus.targets("tuning", 0, 16)
    assert targets.bytes > 1.5 * targets.tokens
    expected = row["validation_loss"] * targets.tokens / targets.bytes / math.log(2)
    assert row["bits_per_byte"] == pytest.approx(expected)
    assert main(["train", "--resume=run", "--max_iters=6"]) == 0
    capsys.readouterr()
    assert main(["sample", "run", "Story 7: naïve ", "--length", "30"]) == 0
    assert capsys.readouterr().out.startswith("Story 7: naïve ")
    assert main(["train", "--from=run", "--continue", "--max_iters=2", "--out_dir=on"]) == 0
    capsys.readouterr()
    assert main(["train", "--from=run", "--continue", "--tokenizer=byte", "--out_dir=other"]) == 2
    assert "take a text of the same tokenizer" in capsys.readouterr().err
    assert main(["train", "--resume=run", "--documents=joined", "--max_iters=9"]) == 2
    assert "documents: cannot change when a run is resumed" in capsys.readouterr().err


def test_a_prompt_that_a_vocabulary_of_characters_lacks_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("plain.txt").write_text("\n".join(STORIES))
    assert main(["train", "--dataset=plain.txt", "--tokenizer=char", *SIZES, "--out_dir=run", "--max_iters=2"]) == 0
    capsys.readouterr()
    assert main(["sample", "run", "the ïox"]) == 2
    assert "character 5 is 'ï': not one of the" in capsys.readouterr().err


STUDY = """question: Which rate?
data: stories.jsonl
base: {n_layer: 1, n_head: 2, n_embd: 8, block_size: 16, batch_size: 4, tokenizer: bpe, vocab_size: 300, column: text}
space: {learning_rate: default}
budget: {trials: 2, horizon: 4}
sampler: random
workers: 1
"""


def test_a_study_has_one_tokenizer_for_all_its_trials(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("q.yaml").write_text(STUDY)
    text = load_study_file("q.yaml").text
    assert (text.tokenizer, text.vocab_size, text.column) == ("bpe", 300, "text")
    assert Path(text.dataset) == here / "stories.jsonl"
    create_study("q.yaml", "s.db")
    study = open_study("q", storage="s.db")
    study.optimize(objective(study), n_trials=1)
    assert study.best_value < math.log(300) + 1
    Path("r.yaml").write_text(STUDY.replace("{learning_rate: default}", "{vocab_size: [300, 400]}"))
    assert main(["study", "run", "r.yaml", "--storage", "s.db"]) == 2
    assert "vocab_size decides what a token is" in capsys.readouterr().err


# --- how far it is


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal, StringIO])
def test_progress_is_one_line_on_a_terminal_and_rare_elsewhere(stream: Callable[[], StringIO]) -> None:
    out, clock = stream(), [0.0]
    progress = Progress(out, lambda: clock[0])
    for done in range(101):
        progress("quick: tokens", done, 100)
        clock[0] += 0.01
    assert out.getvalue() == ""
    for done in range(101):
        progress("slow: tokens", done * 10**6, 100 * 10**6)
        clock[0] += 0.5
    progress("next", 1, None)
    progress.close()
    written = out.getvalue()
    assert "slow: tokens 100 % of 100 MB, 2.0 MB/s" in written
    if stream is Terminal:
        assert written.count("\n") == 1
        assert all(len(line) <= 79 for line in written.rstrip("\n").split("\r"))
    else:
        assert 2 <= written.count("\n") <= 5
        assert "slow: tokens 4 % of 100 MB, 2.0 MB/s, 48 s left\n" in written
