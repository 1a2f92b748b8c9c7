"""``tunemax sample`` and ``tunemax train --continue``: what was trained, looked at and trained on."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunemax.gpt import checkpoint
from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.sample import Choice
from tunemax.gpt.tokenizers.char import Char
from tunemax.gpt.visible import visible
from tunemax.search import generate
from tunemax.search.cli import main
from tunemax.search.results.texts import Writer
from tunemax.search.results.trained import find
from tunemax.search.storage import attributes
from tunemax.search.storage.paths import WEIGHTS, trial_file
from tunemax.search.storage.questions import Question
from tunemax.search.workers.weights import Weights

SHAPE = "--n_layer 1 --n_head 2 --n_embd 16 --block_size 16 --batch_size 4"
RUN = f"{SHAPE} --max_iters 20 --eval_interval 10 --no-tensorboard"


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    """What a command prints, and what it says beside."""
    capsys.readouterr()
    assert main(list(words)) == 0
    return capsys.readouterr()


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which a command is refused, before it has printed anything."""
    capsys.readouterr()
    assert main(list(words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.removeprefix("tunemax: ").removesuffix("\n")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, text: Path) -> str:
    """The folder of a run."""
    folder = str(tmp_path_factory.mktemp("runs") / "run")
    assert main(["train", *RUN.split(), "--dataset", str(text), "--out_dir", folder]) == 0
    return folder


@pytest.fixture
def question(ask: Callable[..., Question], work: Callable[..., Any], where: str) -> Question:
    """One that has winners with their weights."""
    asked = ask(compare=["softmax", "constantmax"])
    work(asked, watchers=[Weights(str(asked.storage.url), pytest.fail)])
    return asked


# ---- texts -----------------------------------------------------------------------------------------------------------


def test_a_run_writes_the_same_for_the_same_seed_and_its_speed_is_told(
    run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sample", run, "the row", "--length", "40"]
    out, err = typed(capsys, *words)
    assert out.startswith("the row")
    assert err.startswith(f"{run}: 40 tokens in ")
    assert err.split()[-1] == "tokens/s"
    assert typed(capsys, *words)[0] == out
    assert typed(capsys, *words, "--seed", "1")[0] != out
    assert typed(capsys, "sample", str(Path(run) / "checkpoint.safetensors"), *words[2:])[0] == out
    assert list(map(visible, generate(run, "the row", 40))) == [out.removeprefix("the row").removesuffix("\n")]


def test_several_continuations_and_json_and_a_prompt_that_is_read(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["sample", run, "--length", "30", "--count", "3", "--top-k", "9", "--temperature", "1.5"]
    found = json.loads(typed(capsys, *words, "the row", "--json")[0])
    assert len(set(found["texts"])) == 3
    assert found["prompt"] == "the row"
    assert found["tokens_per_s"] > 0
    assert generate(run, "the row", 30, count=3, top_k=9, temperature=1.5) == found["texts"]
    out = typed(capsys, *words, "the row")[0]
    shown = [f"---- {number} of 3\nthe row{visible(text)}\n" for number, text in enumerate(found["texts"], 1)]
    assert out == "".join(shown)
    (tmp_path / "prompt.txt").write_text("the row")
    assert typed(capsys, *words, "--prompt-file", str(tmp_path / "prompt.txt"))[0] == out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the row")))
    assert typed(capsys, *words, "-")[0] == out


def test_a_text_comes_in_pieces_that_are_whole_characters(run: str) -> None:
    writer = Writer.of(find(run), "é".encode())
    assert len(writer.prompt) == 2
    pieces = [piece for (piece,) in writer.written(60, Choice(5.0), 1, 0)]
    assert len(pieces) == 60
    assert "".join(pieces) == generate(run, "é", 60, temperature=5.0)[0]
    assert len(Writer.of(find(run), None).prompt) == 32


def test_a_prompt_beyond_the_context_is_told(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    long, short = (
        typed(capsys, "sample", run, words + "a row need no max", "--length", "9") for words in ("x" * 30, "")
    )
    assert "the prompt has 47 tokens, of which" in long[1]
    assert long[0][47:] == short[0][17:]


def test_a_trial_is_named_by_its_question_its_study_or_its_number(
    question: Question, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    best = question.study("q/constantmax").best_trial
    named = find("q/constantmax", where)
    assert named.name == f"q/constantmax#{best.number}"
    assert find(named.name, where).where() == named.where() == find("q/constantmax", where, best.number).where()
    assert find(str(named.where().parent)).where() == named.where()
    out, err = typed(capsys, "sample", "q/constantmax", "the", "--length", "9", "--storage", where)
    assert err.startswith(f"{named.name}: 9 tokens")
    assert out == typed(capsys, "sample", named.name, "the", "--length", "9", "--storage", where)[0]
    ahead = min(("q/softmax", "q/constantmax"), key=lambda name: question.study(name).best_value)
    assert find("q", where).name == find(ahead, where).name


# ---- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a\udcff", "--top-k", "257"], "top_k = 257: this data has 256 tokens; take at most so many"),
        ([""], "prompt: empty; give at least one character, or leave it out"),
        (["x", "--temperature", "nan"], "temperature = nan: expected a number ≥ 0; 0 takes the likeliest"),
        (["x", "--temperature", "-1"], "temperature = -1.0: expected a number ≥ 0; 0 takes the likeliest"),
        (["x", "--temperature", "hot"], "--temperature = hot: expected a number"),
        (["x", "--top-p", "0"], "top_p = 0.0: expected a share above 0, at most 1; 1 leaves out nothing"),
        (["x", "--min-p", "1.5"], "min_p = 1.5: expected a share from 0 to 1; 0 leaves out nothing"),
        (["x", "--top-k", "0"], "--top-k = 0: expected a whole number ≥ 1"),
        (["x", "--seed", "-1"], "--seed = -1: expected a whole number ≥ 0"),
        (["x", "--prompt-file", "y"], "PROMPT and --prompt-file both say what to go on from; give one of them"),
        (["--prompt-file", "no/file"], "--prompt-file no/file: No such file or directory"),
    ],
    ids=str,
)
def test_what_says_nothing_is_refused(
    words: list[str], told: str, run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, "sample", run, *words) == told


def test_a_character_that_a_model_does_not_know_is_told_with_its_place() -> None:
    letters = Char(" bnort")
    with pytest.raises(
        TunemaxError, match="character 4 is 'é': not one of the 6 characters of this data; leave it out"
    ):
        letters.tokens("to é".encode())
    with pytest.raises(TunemaxError, match="byte 2 is not UTF-8, in which text is; convert it"):
        letters.tokens(b"t\xff")
    assert "".join(letters.decoder()(ids, True) for ids in letters.tokens(b"to born")[:, None]) == "to born"


def test_weights_that_are_not_there_are_told_with_the_remedy(
    question: Question, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    study = question.study("q/softmax")
    best = study.best_trial.number
    other = next(trial.number for trial in study.trials if trial.number != best)
    told = refused(capsys, "sample", f"q/softmax#{other}", "--storage", where)
    assert told == (
        f"q/softmax#{other}: has no weights here; weights are kept of each candidate's best trial and of confirmed "
        f"runs, where they were trained. Train it again with tunemax train --from 'q/softmax#{other}' --storage {where}"
    )
    trial_file(str(question.storage.url), "q/softmax", best, WEIGHTS).unlink()  # as in a database of before
    assert f"q/softmax#{best}: has no weights here" in refused(capsys, "sample", "q/softmax", "--storage", where)
    study.enqueue_trial({})
    waiting = len(study.trials) - 1
    assert refused(capsys, "sample", f"q/softmax#{waiting}", "--storage", where).startswith(
        f"q/softmax#{waiting}: wait"
    )


def test_what_has_diverged_writes_nothing(
    question: Question, where: str, run: str, tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "wild"
    wild = ["--learning_rate", "10", "--warmup_fraction", "0", "--grad_clip", "0", "--schedule", "constant"]
    main(["train", *RUN.split(), *wild, "--max_iters", "300", "--dataset", str(text), "--out_dir", str(folder)])
    reason = json.loads((folder / "config.json").read_text())["diverged"]
    assert reason.startswith("diverged: ")
    assert refused(capsys, "sample", str(folder)).startswith(f"{folder}: {reason}")
    study = question.study("q/softmax")
    frozen = study.best_trial
    trial = frozen.number
    question.storage.create_new_trial(study._study_id, template_trial=_diverged(frozen))
    assert refused(capsys, "sample", f"q/softmax#{trial + 100}", "--storage", where).endswith("numbered from 0")
    last = len(study.trials) - 1
    assert refused(capsys, "sample", f"q/softmax#{last}", "--storage", where) == (
        f"q/softmax#{last}: diverged: on purpose; take another trial"
    )


def _diverged(frozen: Any) -> Any:
    frozen.user_attrs[attributes.DIVERGED] = "diverged: on purpose"
    return frozen


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("q/softmax#x", "q/softmax#x: expected the number of a trial behind the #, as in q/softmax#7"),
        ("q/softmx", "study q/softmx: not in this storage; did you mean `q/softmax`?"),
        ("q#0", "q#0: q has 2 studies; name one: q/softmax"),
    ],
)
def test_a_name_that_names_nothing_is_refused(
    word: str, told: str, question: Question, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, "sample", word, "--storage", where) == told


def test_where_there_are_no_studies_a_wrong_name_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNEMAX_STORAGE", raising=False)
    told = "nothing: no folder of a run, no checkpoint, and there is no database of studies here"
    assert refused(capsys, "sample", "nothing") == told


# ---- trained on ------------------------------------------------------------------------------------------------------


def test_a_winner_trains_on_from_its_weights(
    question: Question, where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--from", "q/constantmax", "--storage", where, "--max_iters", "10", "--no-tensorboard"]
    folder = tmp_path / "on"
    out, err = typed(capsys, *words, "--continue", "--learning_rate", "1e-9", "--out_dir", str(folder))
    best = question.study("q/constantmax").best_trial
    said = " ".join(err.split())
    assert said.startswith(
        f"goes on from the weights of q/constantmax#{best.number} at iteration 20, for 10 iterations."
    )
    assert "rises again over 2 iterations to 1e-09 and falls again (linear); batches are those of seed 2" in said
    assert f"validation {best.value:.2f}" in out, "it begins where the trial has ended"
    kept, on = checkpoint.load(find("q/constantmax", where).where()), checkpoint.load(folder / "checkpoint.safetensors")
    assert on.iteration == 10
    assert all((on.tensors[name] - value).abs().max() < 1e-6 for name, value in kept.tensors.items())
    anew, _ = typed(capsys, *words, "--out_dir", str(tmp_path / "anew"))
    assert f"validation {best.value:.2f}" not in anew
    record = json.loads((folder / "config.json").read_text())
    assert record["start"] == f"q/constantmax#{best.number} at iteration 20"
    assert Config.stored(record["config"]).train.seed == 2


def test_what_goes_on_is_resumed_and_goes_on_once_more(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "on"
    words = ["train", "--from", run, "--continue", "--max_iters", "10", "--no-tensorboard"]
    typed(capsys, *words, "--out_dir", str(folder))
    whole, _ = typed(
        capsys, *words[:-2], "20", "--no-tensorboard", "--schedule", "constant", "--out_dir", str(tmp_path / "b")
    )
    typed(capsys, "train", "--resume", str(folder), "--max_iters", "20")
    assert json.loads((folder / "config.json").read_text())["start"] == f"{run} at iteration 20"
    typed(capsys, "train", "--from", str(folder), "--continue", "--max_iters", "5", "--out_dir", str(tmp_path / "c"))
    (folder / "checkpoint.safetensors").unlink()
    told = refused(capsys, "train", "--resume", str(folder), "--max_iters", "30")
    assert (
        told
        == f"{folder}: began with weights of {run} at iteration 20, and checkpoint.safetensors is gone; begin it anew"
    )
    assert whole


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--n_layer", "2"], "n_layer = 2: it was 1, and cannot change where weights go on"),
        (
            ["--softmax_variant", "polymax"],
            "softmax_variant = polymax: it was softmax, and cannot change where weights go on",
        ),
        (["--position", "rotary"], "position = rotary: it was learned, and cannot change where weights go on"),
    ],
    ids=str,
)
def test_another_model_cannot_go_on(words: list[str], told: str, run: str, capsys: pytest.CaptureFixture[str]) -> None:
    anew = "; leave out --continue to train anew"
    assert refused(capsys, "train", "--from", run, "--continue", *words) == told + anew


def test_what_goes_on_is_named(capsys: pytest.CaptureFixture[str], run: str) -> None:
    assert refused(capsys, "train", "--continue") == "--continue needs --from TRIAL"
    both = "--config and --from both say where to start; give one of them"
    assert refused(capsys, "train", "--continue", "--from", run, "--config", run) == both
