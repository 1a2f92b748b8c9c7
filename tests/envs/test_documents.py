"""What docs/environments.md and docs/rl.md say is true: their code runs, their tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

import gymnasium
import pytest

from tunemax.envs.ids import LATEST, STEER
from tunemax.envs.instances import SETS

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/environments.md").read_text()
HEADROOM = DOCUMENT.partition("## Headroom")[2].partition("\n## ")[0]
AGENTS = (ROOT / "docs/rl.md").read_text()


def python(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


SHOWN = [*python(DOCUMENT), *python(AGENTS)]


@pytest.mark.parametrize("code", SHOWN, ids=range(len(SHOWN)))
def test_the_code_that_is_shown_runs(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, "shown", "exec"), {})
    assert "Traceback" not in capsys.readouterr().err


def test_every_id_and_every_set_is_described() -> None:
    assert re.findall(r"^\| `(tunemax/.*?)` \|", DOCUMENT, flags=re.MULTILINE) != []
    assert set(re.findall(r"^\| `(tunemax/.*?)` \|", DOCUMENT, flags=re.MULTILINE)) == set(LATEST)
    described = {
        name: int(count) for name, count in re.findall(r"^\| `(\w+)` \| (\d+) \|", DOCUMENT, flags=re.MULTILINE)
    }
    assert described == {name: of.count for name, of in SETS.items()}


def test_what_is_to_be_won_is_told_of_every_id_as_it_was_measured() -> None:
    """In its docstring, and in the table beside the command."""
    rows = re.findall(
        r"^\| `(\S+)` \| (.*?) \|.*\| `(\S+) --instances \d+ --member-steps \d+` \|$", HEADROOM, re.MULTILINE
    )
    measured = {f"tunemax/{name}": oracle for name, oracle, _ in rows}
    assert all(name == of_command for name, _, of_command in rows)
    for id in LATEST.keys() - {STEER}:
        row = LATEST[id]
        if id in measured:
            assert re.findall(r"-?\d+\.\d+", measured[id]) == re.findall(r"-?\d+\.\d+", row.headroom)[:3], id
            assert measured[id].endswith("nothing") == row.headroom.startswith("Nothing is to be won"), id
        else:
            assert row.headroom.startswith("As of "), id
        docstring = gymnasium.make(id).unwrapped.__doc__ or ""
        assert "".join(row.headroom.split()) in "".join(docstring.split())
