"""A run as a user has it: a folder that tells what happened, can be interrupted at any moment, and is taken up
again."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import tunemax.gpt.compile.step
import tunemax.gpt.trainer
from tunemax.gpt import checkpoint, run
from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.matmul import current_route
from tunemax.gpt.optimizer.adamw import AdamW
from tunemax.gpt.record import CONFIG
from tunemax.gpt.snapshot import Snapshot

Make = Callable[..., Config]
Same = Callable[[Snapshot, Snapshot], None]

FIELDS: dict[str, Any] = {
    "softmax_variant": "constantmax", "dropout": 0.1, "learning_rate": 1e-2, "max_iters": 30, "log_interval": 4,
    "eval_interval": 10,
}  # fmt: skip
DUE = [4, 8, 10, 12, 16, 20, 24, 28, 30]
EVALUATED = [10, 20, 30]


def quiet(row: run.Row) -> None:
    pass


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / run.LOG).read_text().splitlines()]


def learned(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """Rows without what depends on the clock."""
    return [
        {name: value for name, value in row.items() if name not in ("tokens_per_s", "peak_memory_mb")} for row in rows
    ]


def last(folder: Path) -> Snapshot:
    return checkpoint.load(folder / run.CHECKPOINT)


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return accumulator


@pytest.fixture(scope="module")
def undisturbed(small: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    result = run.train(small(**FIELDS, out_dir=str(folder)), quiet)
    assert (result.folder, result.iteration, result.event) == (folder, 30, None)
    return folder


def test_the_log_is_appended_as_it_happens(small: Make, tmp_path: Path) -> None:
    seen: list[tuple[int, int, bool]] = []
    folder = tmp_path / "run"

    def report(row: run.Row) -> None:
        seen.append((row.iteration, lines(folder)[-1]["iteration"], (folder / run.CHECKPOINT).exists()))

    run.train(small(**FIELDS, out_dir=str(folder)), report)
    assert seen == [(i, i, i >= 10) for i in DUE]


def test_a_run_tells_its_metrics(undisturbed: Path) -> None:
    rows = lines(undisturbed)
    assert [row["iteration"] for row in rows] == DUE
    assert [row["iteration"] for row in rows if "validation_loss" in row] == EVALUATED
    for row in rows:
        assert row["grad_norm"] > 0
        assert row["tokens_per_s"] > 0
        assert row["peak_memory_mb"] > 10
        if "validation_loss" in row:
            assert row["perplexity"] == pytest.approx(math.exp(row["validation_loss"]))
            assert row["bits_per_byte"] == pytest.approx(row["validation_loss"] / math.log(2))
    assert rows[-1]["validation_loss"] < rows[2]["validation_loss"] < math.log(256)


def test_the_folder_holds_no_more_than_it_should(undisturbed: Path) -> None:
    names = {path.name for path in undisturbed.iterdir() if not path.name.startswith("events.out.tfevents")}
    assert names == {CONFIG, run.LOG, run.CHECKPOINT, run.LOCK}


def test_without_out_dir_the_folder_is_named_after_what_is_trained(
    small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    config = small(max_iters=1, tensorboard=False)
    result = run.train(config, quiet)
    assert result.folder == Path(f"runs/{text.name}-softmax-{config.identity}")
    assert not list(result.folder.glob("events.*"))


# --- TensorBoard


def test_tensorboard_shows_the_training_and_each_softmax(undisturbed: Path) -> None:
    board = events(undisturbed)
    tags = set(board.Tags()["scalars"])
    assert {"loss/train", "train/learning_rate", "train/grad_norm", "speed/tokens_per_s", "memory/peak_mb"} <= tags
    for tag in ("loss/validation", "loss/perplexity", "loss/bits_per_byte"):
        assert [event.step for event in board.Scalars(tag)] == EVALUATED
    for layer in range(2):
        for head in range(2):
            for name in ("row_max", "denominator", "row_sum", "guarded", "beta", "gamma"):
                assert [event.step for event in board.Scalars(f"softmax/layer{layer}/head{head}/{name}")] == EVALUATED
    rows = lines(undisturbed)
    assert [event.value for event in board.Scalars("loss/train")] == pytest.approx([row["train_loss"] for row in rows])
    beta = board.Scalars("softmax/layer1/head0/beta")[-1].value
    assert beta == pytest.approx(last(undisturbed).tensors["theta/h.1.constantmax.beta"].item())


def test_a_project_and_a_name_place_the_events_elsewhere(small: Make, tmp_path: Path) -> None:
    fields = {"max_iters": 2, "tensorboard_project": "sweep", "tensorboard_run_name": "mine"}
    run.train(small(**fields, out_dir=str(tmp_path / "runs" / "one")), quiet)
    assert events(tmp_path / "runs" / "sweep" / "mine").Scalars("loss/validation")[0].step == 2


# --- interrupted, killed, resumed


def interrupted_at(config: Config, iteration: int) -> Path:
    """Train until Ctrl-C comes while this iteration is reported."""

    def report(row: run.Row) -> None:
        if row.iteration >= iteration:
            raise KeyboardInterrupt

    folder = run.run_folder(config)
    with pytest.raises(
        KeyboardInterrupt, match=f"^saved at iteration .*; continue with tunemax train --resume {folder}$"
    ):
        run.train(config, report)
    return folder


@pytest.mark.parametrize("iteration", [4, 12, 20])
def test_an_interrupted_run_goes_on_bit_for_bit(
    iteration: int,
    small: Make,
    tmp_path: Path,
    undisturbed: Path,
    assert_same: Same,
) -> None:
    folder = interrupted_at(small(**FIELDS, out_dir=str(tmp_path / "run")), iteration)
    assert last(folder).iteration == iteration
    result = run.resume(folder, {}, quiet)
    assert [row.iteration for row in result.rows] == [i for i in DUE if i > iteration]
    assert_same(last(folder), last(undisturbed))
    assert learned(lines(folder)) == learned(lines(undisturbed))
    for tag in ("loss/train", "loss/validation", "softmax/layer0/head0/row_max"):
        assert [(e.step, e.value) for e in events(folder).Scalars(tag)] == [
            (e.step, e.value) for e in events(undisturbed).Scalars(tag)
        ]


def test_ctrl_c_within_an_update_or_an_evaluation_loses_nothing(
    small: Make, tmp_path: Path, undisturbed: Path, assert_same: Same, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    config = small(**FIELDS, out_dir=str(folder))
    update, evaluate = AdamW.step_, tunemax.gpt.trainer.Trainer.evaluate

    def interrupt(function: Callable[..., Any], on_call: int) -> Callable[..., Any]:
        calls = 0

        def wrapped(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == on_call:
                signal.raise_signal(signal.SIGINT)
            return function(*arguments)

        return wrapped

    monkeypatch.setattr(AdamW, "step_", interrupt(update, 15))
    with pytest.raises(KeyboardInterrupt):
        run.train(config, quiet)
    assert last(folder).iteration == 15
    monkeypatch.setattr(tunemax.gpt.trainer.Trainer, "evaluate", interrupt(evaluate, 2))  # the last evaluation
    with pytest.raises(KeyboardInterrupt):
        run.resume(folder, {}, quiet)
    assert last(folder).iteration == 30
    assert [row["iteration"] for row in lines(folder)] == DUE[:-1]
    monkeypatch.undo()
    result = run.resume(folder, {}, quiet)
    assert [row.iteration for row in result.rows] == [30]
    assert_same(last(folder), last(undisturbed))
    assert lines(folder)[-1]["validation_loss"] == lines(undisturbed)[-1]["validation_loss"]


def test_a_killed_process_is_taken_up_from_its_last_checkpoint(
    small: Make, tmp_path: Path, undisturbed: Path, assert_same: Same, data_folder: Path
) -> None:
    folder = tmp_path / "run"
    fields = small(**FIELDS, out_dir=str(folder)).flat()
    program = (
        "import json, sys, torch\n"
        "torch.set_num_threads(1)\n"
        "from tunemax.gpt.config import Config\n"
        "from tunemax.gpt import run\n"
        "def report(row):\n"
        "    print(row.iteration, flush=True)\n"
        "    if row.iteration == 16:\n"
        "        sys.stdin.read()\n"  # until it is killed
        "run.train(Config.of(json.loads(sys.argv[1])), report)\n"
    )
    environment = {**os.environ, "TUNEMAX_DATA": str(data_folder)}
    words = [sys.executable, "-c", program, json.dumps(fields)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        while b"16" not in process.stdout.readline():
            assert process.poll() is None
        process.kill()
    assert last(folder).iteration == 10
    with (folder / run.LOG).open("a") as log:
        log.write('{"iteration": 17, "train_lo')  # as if the machine had stopped within a line
    run.resume(folder, {}, quiet)
    assert_same(last(folder), last(undisturbed))
    assert learned(lines(folder)) == learned(lines(undisturbed))
    assert [event.step for event in events(folder).Scalars("loss/train")] == DUE


def test_a_run_that_never_reached_a_checkpoint_starts_again(
    small: Make, tmp_path: Path, undisturbed: Path, assert_same: Same
) -> None:
    folder = interrupted_at(small(**FIELDS, out_dir=str(tmp_path / "run")), 4)
    (folder / run.CHECKPOINT).unlink()
    run.resume(folder, {}, quiet)
    assert_same(last(folder), last(undisturbed))
    assert learned(lines(folder)) == learned(lines(undisturbed))
    assert [event.step for event in events(folder).Scalars("loss/train")] == DUE


def test_a_finished_run_trains_longer(small: Make, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run.train(small(**{**FIELDS, "max_iters": 12, "schedule": "constant"}, out_dir=str(folder)), quiet)
    result = run.resume(folder, {"max_iters": 30}, quiet)
    assert result.iteration == 30
    assert last(folder).config.train.max_iters == 30
    assert [row["iteration"] for row in lines(folder)] == DUE
    with pytest.raises(TunemaxError, match="finished at iteration 30; ask for more with --max_iters"):
        run.resume(folder, {}, quiet)


def test_how_often_to_write_may_change_on_resume(
    small: Make, tmp_path: Path, undisturbed: Path, assert_same: Same
) -> None:
    folder = interrupted_at(small(**FIELDS, out_dir=str(tmp_path / "run")), 8)
    run.resume(folder, {"eval_interval": 15, "log_interval": 30, "tensorboard": False}, quiet)
    assert [row["iteration"] for row in lines(folder)] == [4, 8, 15, 30]
    assert_same(last(folder), last(undisturbed))


def test_a_run_records_its_path_and_says_when_it_goes_on_by_another(
    small: Make, tmp_path: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = json.loads((undisturbed / CONFIG).read_text())["path"]
    assert path == ("eager, fp32, cuda" if torch.cuda.is_available() else f"eager, fp32, {current_route()} matmul")
    folder = interrupted_at(small(**FIELDS, out_dir=str(tmp_path / "run")), 8)
    capsys.readouterr()
    same = shutil.copytree(folder, tmp_path / "same")
    run.resume(same, {}, quiet)
    assert capsys.readouterr().err == ""
    record = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**record, "path": "compiled, fp32, onednn matmul"}))
    run.resume(folder, {}, quiet)
    told = (
        f"{folder}: trained so far as compiled, fp32, onednn matmul; goes on as {path}, which is equal to rounding "
        "only\n"
    )
    assert capsys.readouterr().err == told
    assert json.loads((folder / CONFIG).read_text())["path"] == path
    assert learned(lines(folder)) == learned(lines(same))


def test_an_evaluation_that_cannot_be_compiled_shows_in_the_record(
    small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def some(key: str, trace: Any) -> Any:
        if "evaluation" in key:
            raise RuntimeError("C++ compile error")
        return trace()[0]

    monkeypatch.setattr(tunemax.gpt.compile.step, "compiled", some)
    for name, fresh in (("_known", {}), ("_failed", set())):
        monkeypatch.setattr(tunemax.gpt.compile.step, name, fresh)
    folder = tmp_path / "run"
    run.train(small(**{**FIELDS, "max_iters": 4}, n_embd=16, compile=True, out_dir=str(folder)), quiet)
    assert json.loads((folder / CONFIG).read_text())["path"].startswith("compiled but for evaluation, ")


def test_a_compiler_that_fails_shows_in_the_record(
    small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("C++ compile error")

    monkeypatch.setattr(tunemax.gpt.compile.step, "compiled", broken)
    monkeypatch.setattr(tunemax.gpt.compile.step, "_failed", set())
    tunemax.gpt.compile.step._tell.cache_clear()
    folder = tmp_path / "run"
    run.train(small(**{**FIELDS, "max_iters": 4}, n_embd=12, compile=True, out_dir=str(folder)), quiet)
    assert json.loads((folder / CONFIG).read_text())["path"].startswith("eager, ")
    assert capsys.readouterr().err == "compile: failed (C++ compile error); going on without\n"


def test_a_run_that_diverges_ends_with_its_reason(small: Make, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    fields = {**FIELDS, "learning_rate": 10, "grad_clip": 0, "warmup_fraction": 0}
    result = run.train(small(**fields, out_dir=str(folder)), quiet)
    assert result.event is not None
    assert result.event.startswith("diverged: ")
    assert result.iteration < 30
    assert lines(folder)[-1]["iteration"] == result.iteration


# --- refusals


def refused(message: str, call: Callable[[], object]) -> None:
    with pytest.raises(TunemaxError, match=message) as error:
        call()
    assert len(str(error.value).splitlines()) == 1


def test_a_folder_that_holds_a_run_is_not_trained_over(undisturbed: Path, small: Make) -> None:
    before = (undisturbed / run.LOG).read_bytes()
    refused(
        "holds a run already; continue it with --resume",
        lambda: run.train(small(**FIELDS, out_dir=str(undisturbed)), quiet),
    )
    assert (undisturbed / run.LOG).read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eval_interval": 7, "eval_iters": 3}, r"eval_tokens: cannot change when a run is resumed \(it was 256\)"),
        ({"seed": 2}, r"seed: cannot change when a run is resumed \(it was 1\); start a new run"),
        ({"softmax_variant": "softmax"}, "softmax_variant: cannot change"),
        ({"constantmax.gamma": 3}, "constantmax.gamma: cannot change"),
        ({"max_iters": 0}, "max_iters = 0"),
    ],
)
def test_a_resumed_run_stays_the_same_training(changes: dict[str, Any], message: str, undisturbed: Path) -> None:
    refused(message, lambda: run.resume(undisturbed, {"max_iters": 60, **changes}, quiet))
    assert lines(undisturbed)[-1]["iteration"] == 30


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        refused("holds no run .config.json is missing.", lambda folder=folder: run.resume(folder, {}, quiet))  # type: ignore[misc]
    for text in ("{", "[1]", "{}", '{"config": 3, "identity": "", "data": ""}', "\0"):
        (tmp_path / CONFIG).write_text(text)
        refused("config.json: unreadable", lambda: run.resume(tmp_path, {}, quiet))


def test_data_that_changed_since_is_refused(small: Make, tmp_path: Path, text: Path) -> None:
    copy = tmp_path / "copy.txt"
    copy.write_text(text.read_text())
    folder = interrupted_at(small(**{**FIELDS, "dataset": str(copy)}, out_dir=str(tmp_path / "run")), 4)
    copy.write_text(text.read_text()[::-1])
    refused("is not the text it was trained on any more", lambda: run.resume(folder, {}, quiet))
    (folder / run.CHECKPOINT).unlink()
    refused("is not the text it was trained on any more", lambda: run.resume(folder, {}, quiet))


def test_a_damaged_checkpoint_is_refused_and_kept(small: Make, tmp_path: Path) -> None:
    folder = interrupted_at(small(**FIELDS, out_dir=str(tmp_path / "run")), 12)
    damaged = (folder / run.CHECKPOINT).read_bytes()[:-7]
    (folder / run.CHECKPOINT).write_bytes(damaged)
    refused("not a tunemax checkpoint, or damaged", lambda: run.resume(folder, {}, quiet))
    assert (folder / run.CHECKPOINT).read_bytes() == damaged


@pytest.mark.parametrize(
    "tail",
    [b"\0" * 50, b"\xff\xfe", b"5", b"null", b"{}", b'{"iteration": 1e400}', b'{"iter', b"[" * 100_000, b"9" * 5000],
    ids=["zeros", "no UTF-8", "number", "null", "no iteration", "infinite", "cut", "deep", "digits"],
)
def test_a_log_that_is_damaged_at_its_end_goes_on(tail: bytes, small: Make, tmp_path: Path) -> None:
    """A power cut leaves zeros, a full disk half a line."""
    folder = interrupted_at(small(**FIELDS, out_dir=str(tmp_path / "run")), 12)
    whole = (folder / run.LOG).read_bytes()
    (folder / run.LOG).write_bytes(whole + tail)
    run.resume(folder, {}, quiet)
    assert (folder / run.LOG).read_bytes().startswith(whole)
    rows = [json.loads(line) for line in (folder / run.LOG).read_text().splitlines()]
    assert rows[-1]["iteration"] == FIELDS["max_iters"]


def test_what_cannot_be_trained_leaves_no_folder_behind(small: Make, tmp_path: Path, corpus: Corpus) -> None:
    folder = tmp_path / "run"
    for fields in ({"dataset": str(tmp_path / "nowhere")}, {"block_size": 60000}, {"device": "nonsense"}):
        refused(".", lambda fields=fields: run.train(small(**fields, out_dir=str(folder)), quiet))  # type: ignore[misc]
        assert not folder.exists()
