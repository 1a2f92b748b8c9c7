"""What a shell and a reader are told of the commands: help in two lengths, and completion."""

from __future__ import annotations

import subprocess

import pytest

from tunemax.gpt.config import all_specs
from tunemax.gpt.softmax import variants
from tunemax.search.cli import main
from tunemax.search.cli.completion import SHELLS
from tunemax.search.cli.flags import SHORT

WITH_FIELDS = [["train"], ["rl", "steer"]]
COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMPREPLY=()
_shtab_tunemax
echo "${COMPREPLY[@]}"
"""


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", "80")
    return 80


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", WITH_FIELDS, ids=" ".join)
def test_a_short_help_comes_first(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    short = printed(capsys, *command, "--help")
    assert len(short.splitlines()) < 66
    assert all(f"--{name}" in short for name in SHORT)
    assert "--help-all" in short
    assert "--constantmax.beta" not in short


@pytest.mark.parametrize("command", WITH_FIELDS, ids=" ".join)
def test_help_fits_a_terminal(command: list[str], capsys: pytest.CaptureFixture[str], columns: int) -> None:
    assert max(map(len, printed(capsys, *command, "--help").splitlines())) <= columns


@pytest.mark.parametrize("command", WITH_FIELDS, ids=" ".join)
def test_the_long_help_has_every_field_in_groups(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    long = printed(capsys, *command, "--help-all")
    forms = "--{} ", "--{}, ", "--[no-]{}\n"
    assert [name for name in all_specs() if not any(form.format(name) in long for form in forms)] == []
    headings = [line for line in long.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert {"model:", "training:", "logging:", "constantmax (alias consmax):", "polymax:"} <= set(headings)


@pytest.mark.parametrize("command", WITH_FIELDS, ids=" ".join)
def test_help_names_every_variant(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    short = printed(capsys, *command, "--help")
    assert all(name in short for name in variants())


@pytest.mark.parametrize("shell", SHELLS)
def test_a_completion_knows_commands_flags_and_names(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("leaderboard", "n_layer", "constantmax.beta", "strongermax", "rotary"):
        assert word in script


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tunemax", "st"], ["study"]),
        (["tunemax", "study", "lea"], ["leaderboard"]),
        (["tunemax", "train", "--n_la"], ["--n_layer"]),
        (["tunemax", "train", "--softmax_variant", "stro"], ["strongermax"]),
        (["tunemax", "study", "run", "--work"], ["--workers"]),
    ],
    ids=lambda words: " ".join(words),
)
def test_bash_completes(
    words: list[str],
    expected: list[str],
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path_factory.getbasetemp() / "completion.bash"
    if not path.exists():
        assert main(["completion", "bash"]) == 0
        path.write_text(capsys.readouterr().out)
    answer = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", str(path), *words], capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == expected


def test_an_unknown_shell_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "fsh"]) == 2
    assert "did you mean `fish`?" in capsys.readouterr().err
