"""What docs/environments.md and docs/rl.md say is true: their code runs, their tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tunemax.envs.ids import LATEST
from tunemax.envs.instances import SETS

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/environments.md").read_text()
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
