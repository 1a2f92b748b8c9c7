"""The notebooks of the docs: their cells run, and what stands in them is what they answer."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

DOCS = Path(__file__).parents[1] / "docs"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
SPEC = importlib.util.spec_from_file_location("make_notebook", DOCS / "make_notebook.py")
assert SPEC
assert SPEC.loader
maker: ModuleType = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(maker)
SAID = {
    "notebook": "comparisons with softmax are settled",
    "variant": "coolmax.temperature = 1",
    "steer": "the run is in runs/steered",
    "compare": "One run each: this says which of these models is ahead",
}
"""What some cell of each answers."""
over_topics = pytest.mark.parametrize("name", maker.NOTEBOOKS)


def test_every_topic_has_its_notebook() -> None:
    assert sorted(DOCS.glob("*.ipynb")) == sorted(map(maker.target, maker.NOTEBOOKS))
    assert SAID.keys() == maker.NOTEBOOKS.keys()


@over_topics
def test_a_notebook_has_the_cells_that_its_maker_writes(name: str) -> None:
    kept = nbformat.read(maker.target(name), as_version=4)
    assert [cell.source for cell in kept.cells] == [cell.source for cell in maker.notebook(name).cells]
    silent = ("from", "import gymnasium")
    code = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert all(cell.get("outputs") or cell.source.startswith(silent) for cell in code)
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]


@pytest.mark.long
@over_topics
def test_every_cell_runs_and_draws_no_cursor_codes(name: str, tmp_path: Path) -> None:
    made = maker.execute(maker.notebook(name), tmp_path)  # raises if a cell does
    printed = [output.text for cell in made.cells for output in cell.get("outputs", []) if "text" in output]
    assert any(SAID[name] in text for text in printed)
    assert not any(CONTROL.search(text) for text in printed)
    kinds = [kind for cell in made.cells for o in cell.get("outputs", []) for kind in o.get("data", {})]
    assert name == "variant" or any("application/vnd.plotly" in kind for kind in kinds)
