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
    """In its docstring, and in the table beside the command; an id that is none of its own has none."""
    told = {
        f"tunemax/{name}": oracle for name, oracle in re.findall(r"^\| `(\S+)` \| (.*?) \|", HEADROOM, re.MULTILINE)
    }
    for id, row in LATEST.items():
        if id == STEER:
            assert not row.headroom
            continue
        assert re.match(r"(At most|Nothing is to be won|Measured on)", row.headroom), id
        if "Measured on" not in row.headroom:
            numbers = re.findall(r"-?\d+\.\d+", told[id])
            assert numbers == re.findall(r"-?\d+\.\d+", row.headroom)[:3], id
            assert ("nothing" in told[id]) == row.headroom.startswith("Nothing")
        docstring = gymnasium.make(id).unwrapped.__doc__ or ""
        assert "".join(row.headroom.split()) in "".join(docstring.split())
