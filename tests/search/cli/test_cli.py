"""The command line: what a user types, and what comes back."""

import argparse
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import tunemax.search.cli.command_line
from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import Above, FieldSpec
from tunemax.search.cli import main
from tunemax.search.cli.command_line import build
from tunemax.search.cli.flags import config_from
from tunemax.search.cli.parser import add_command

ROOT = Path(__file__).parents[3]
SPECS = all_specs()


def typed(*words: str) -> dict[str, Any]:
    """The fields that `tunemax train` would be given by these words."""
    return config_from(build().parse_args(["train", *words]))


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which a command is refused."""
    assert main(list(words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("tunemax: ")
    assert err.count("\n") == 1
    return err.removeprefix("tunemax: ").removesuffix("\n")


# ---- flags of the fields ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS.values(), ids=lambda spec: spec.name)
def test_every_field_has_a_flag_that_sets_it(spec: FieldSpec) -> None:
    if spec.annotation is bool:
        assert typed(f"--{spec.name}") == {spec.name: True}
        assert typed(f"--no-{spec.name}") == {spec.name: False}
    else:
        value = str(spec.options[-1] if spec.options else spec.default)
        assert typed(f"--{spec.name}", value) == {spec.name: value}
        assert typed(f"--{spec.name}={value}") == {spec.name: value}


def test_flags_make_the_configuration_that_they_name() -> None:
    words = (
        "--n_layer 2 --softmax_variant consmax --consmax.gamma 80 --no-constantmax.learn_beta --learning_rate 1e-3 "
        "--bias"
    )
    assert Config.of(typed(*words.split())) == Config.of(
        {
            "n_layer": 2,
            "softmax_variant": "constantmax",
            "constantmax.gamma": 80.0,
            "constantmax.learn_beta": False,
            "learning_rate": 0.001,
            "bias": True,
        }
    )


def test_what_is_not_given_is_not_set() -> None:
    assert typed() == {}


@pytest.mark.parametrize(
    ("word", "field"),
    [
        ("--n-layer=2", {"n_layer": "2"}),
        ("--no-tie-weights", {"tie_weights": False}),
        ("--consmax.gamma-form=raw", {"constantmax.gamma_form": "raw"}),
        ("--no-consmax.learn-gamma", {"constantmax.learn_gamma": False}),
    ],
)
def test_dashes_and_aliases_are_understood(word: str, field: dict[str, Any]) -> None:
    assert typed(word) == field


@pytest.mark.parametrize("number", ["-1", "-0.5", "-1e-3", "-2.5E+1"])
def test_a_negative_number_is_a_value(number: str) -> None:
    assert typed("--constantmax.beta", number) == {"constantmax.beta": number}


def test_the_long_help_of_train_explains_every_field(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--help-all"])
    assert stopped.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    groups = [lines.index(f"{name}:") for name in ("model", "training", "logging")]
    assert groups == sorted(groups)
    for spec in SPECS.values():
        at = next(
            number for number, line in enumerate(lines) if line.split()[:1] in ([f"--{spec.name}"], [f"--{spec.name},"])
        )
        explained = lines[at] + lines[at + 1]  # a long flag stands on a line of its own
        assert spec.help in explained
        assert spec.valid() in explained
        for name, allowed in spec.when.items():
            told = f"> {allowed.bound}" if isinstance(allowed, Above) else f"= {str(allowed[0]).lower()}"
            assert f"{name} {told}" in explained


# ---- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("trian", "trian: no such command; did you mean `train`?"),
        ("train --n_laye 3", "--n_laye: no such flag; did you mean `--n_layer`?"),
        ("train --n-laye=3", "--n-laye: no such flag; did you mean `--n_layer`?"),
        ("train --no-bais", "--no-bais: no such flag; did you mean `--no-bias`?"),
        ("train --constantmx.gamma 3", "--constantmx.gamma: no such flag; did you mean `--constantmax.gamma`?"),
        ("train --qqqq", "--qqqq: no such flag; see `tunemax train --help`"),
        ("train --n_lay 3", "--n_lay: no such flag; did you mean `--n_layer`?"),
        ("train --n_layer", "--n_layer: expected one argument; see `tunemax train --help`"),
        ("train --n_layer 0", "n_layer = 0: expected a whole number ≥ 1 and ≤ 96"),
        ("train --n_head 5", "n_embd = 64 is not divisible by n_head = 5; change one of them"),
        ("train --softmax_variant softermx", "softmax_variant = softermx: no such variant; did you mean `softermax`?"),
        ("train --attention grouped", "attention = grouped: no such attention kind; did you mean `grouped_query`?"),
        ("train --norm laier", "norm = laier: no such norm; did you mean `layer`?"),
        ("train --mlp swigloo", "mlp = swigloo: no such MLP; did you mean `swiglu`?"),
        ("train --position rotory", "position = rotory: no such position; did you mean `rotary`?"),
        (
            "train --attention grouped_query --n_kv_head 3",
            "n_head = 4 is not divisible by n_kv_head = 3; change one of them",
        ),
        (
            "train --attention fractal --n_head 8",
            "fractal_split = 2 cuts the last of n_head = 8 heads into 128 slices of two numbers or more, but a head's "
            "width is 8; choose fewer heads, or a head_dim that is a multiple of 256",
        ),
        (
            "train --attention fractal --n_head 3 --head_dim 12 --position rotary",
            "a head's width is 12, and attention cuts a head into 4 slices; rotary positions turn pairs of numbers, "
            "which no cut may part: choose a head_dim that is a multiple of 8",
        ),
        (
            "train --position rotary --rope_share 0.3",
            "a head's width is 16; rope_share = 0.3 of it is 4.8; rotary positions turn pairs of numbers: choose an "
            "even width",
        ),
        ("train --window 0", "window = 0: expected a whole number ≥ 1 and ≤ 65536"),
        (
            "train --norm none --norm_position peri",
            "norm_position = peri is a norm before and after each sublayer, and norm = none is none; choose another "
            "norm, or leave out norm_position",
        ),
        ("train --z_loss -1", "z_loss = -1: expected a number ≥ 0 and ≤ 10"),
        (
            "train --feedback_share 0.95 --batch_size 8",
            "feedback_share = 0.95: leaves less than one window of the text in batch_size = 8; take at most 0.875",
        ),
        (
            "train --feedback_every 50",
            "feedback_every = 50: means nothing with feedback_share = 0; leave it out, or take feedback_share > 0",
        ),
        (
            "train --feedback_share 0.2 --max_iters 100",
            "feedback_every = 100: a training of 100 iterations ends before anything is written; take less than 100",
        ),
        ("train --feedback_temperature 0", "feedback_temperature = 0: expected a number > 0 and ≤ 100"),
        ("train --feedback_filter novel", "feedback_filter = novel: expected one of none, likelihood, novelty"),
        ("train --trial 3", "--trial needs --from TRIAL"),
        ("train --trial three", "--trial = three: expected a whole number ≥ 0"),
        ("train --storage sqlite:///x.db", "--storage needs --from TRIAL"),
        ("train --resume a --from b", "--resume and --from both say where to start; give one of them"),
        ("prepare", "the following arguments are required: DATASET; see `tunemax prepare --help`"),
        ("prepare one two", "two: nothing more was expected; see `tunemax prepare --help`"),
        ("fields --json --markdown", "--markdown: not allowed with argument --json; see `tunemax fields --help`"),
        ("", "the following arguments are required: COMMAND; see `tunemax --help`"),
    ],
)
def test_a_mistake_is_one_line_with_its_remedy(words: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, *words.split()) == line


def test_an_unknown_dataset_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "prepare", "pythn_stdlib")
    assert "pythn_stdlib" in line
    assert "did you mean `python_stdlib`" in line


def test_a_traceback_needs_debug(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--debug", "train", "--n_layer", "0"], ["train", "--n_layer", "0", "--debug"]):
        assert main(words) == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines[0].startswith("Traceback")
        assert lines[-1] == "tunemax: n_layer = 0: expected a whole number ≥ 1 and ≤ 96"


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (TunemaxError("two\nlines"), 2, "tunemax: two lines\n"),
        (PermissionError(13, "Permission denied", "/root/x"), 2, "tunemax: /root/x: Permission denied\n"),
        (OSError("disk full"), 2, "tunemax: disk full\n"),
        (KeyboardInterrupt(), 130, "tunemax: interrupted; nothing is lost; go on with tunemax fail\n"),
        (KeyboardInterrupt("saved; go on"), 130, "tunemax: interrupted; saved; go on\n"),
    ],
)
def test_the_boundary_makes_a_line_of_an_error(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunemax.search.cli.command_line, "COMMANDS", (_Failing(error),))
    assert main(["fail"]) == status
    assert capsys.readouterr().err == line


def test_a_fault_of_tunemax_itself_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunemax.search.cli.command_line, "COMMANDS", (_Failing(ZeroDivisionError()),))
    with pytest.raises(ZeroDivisionError):
        main(["fail"])


class _Failing:
    """A command that ends in an error."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def register(self, commands: Any) -> None:
        add_command(commands, "fail", "fail", self._run)

    def _run(self, _: argparse.Namespace) -> None:
        raise self._error


# ---- the process -----------------------------------------------------------------------------------------------------


def test_help_is_printed_without_the_heavy_packages() -> None:
    program = """
import sys
from tunemax.search.cli import main
heavy = {"torch", "numpy", "optuna", "pydantic", "sqlalchemy", "rich"}
try:
    main(["--help"])
except SystemExit:
    print(*sorted({name.split(".")[0] for name in sys.modules} & heavy), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
    assert all(command in done.stdout for command in ("prepare", "train", "fields"))


def test_a_closed_pipe_is_silent() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from tunemax.search.cli import main; sys.exit(main(['fields']))"],
            cwd=ROOT,
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.stderr == ""
    assert done.returncode == 141


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"tunemax {version('tunemax')}\n"


# ---- commands --------------------------------------------------------------------------------------------------------


def test_the_committed_reference_is_the_printed_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fields", "--markdown"]) == 0
    printed = capsys.readouterr().out
    assert (ROOT / "docs/fields.md").read_text() == printed, "run `tunemax fields --markdown > docs/fields.md`"


def test_fields_in_every_form_name_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    main(["fields"])
    text = capsys.readouterr().out
    main(["fields", "--json"])
    records = {record["name"]: record for record in json.loads(capsys.readouterr().out)}
    assert list(records) == list(SPECS)
    for name, spec in SPECS.items():
        assert f"  {name} = " in text
        assert records[name]["default"] == spec.default
        assert records[name]["group"] == spec.group
    assert records["constantmax.gamma"]["search"]["log"] is True
    assert records["decay_fraction"]["when"] == {"schedule": ["wsd"]}


def test_prepare_prints_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be, that is the question. " * 400)
    assert main(["prepare", str(text)]) == 0
    out, err = capsys.readouterr()
    assert (Path(out.strip()) / "tokens.bin").is_file()
    assert "vocabulary 256 (byte)" in err
    assert "left out" not in err, "a single file is one document"
    spans = (
        "64-byte spans of each slice that stand in train, too: tuning 100.00 %, confirmation 100.00 %, test 100.00 %"
    )
    assert f"{spans}; what can be looked up is not predicted: leave repeated text out\n" in err


def test_prepare_tells_what_a_folder_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(60):
        line = f"every file of this folder begins with the same long line, and goes on with its own\nthis is file {i}\n"
        (tmp_path / f"{i}.txt").write_text(line)
    assert main(["prepare", str(tmp_path)]) == 0
    err = capsys.readouterr().err
    assert "left out: 59 files that mostly repeat others and 0 passages" in err


def test_train_then_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, run = tmp_path / "text.txt", tmp_path / "run"
    text.write_text("to be or not to be, that is the question. " * 400)
    shape = (
        "--n_layer 1 --n_head 1 --n_embd 8 --block_size 8 --batch_size 2 --eval_iters 1 --log_interval 2 "
        "--no-tensorboard"
    )
    assert main(["train", *shape.split(), "--max_iters", "4", "--dataset", str(text), "--out_dir", str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[:2]] == ["2/4", "4/4"]
    assert lines[-1] == f"finished at iteration 4; the run is in {run}"
    assert main(["train", "--resume", str(run), "--max_iters", "6"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"finished at iteration 6; the run is in {run}"
