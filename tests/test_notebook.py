"""The notebook of the docs: its cells run, and what stands in it is what they answer."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

DOCS = Path(__file__).parents[1] / "docs"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_notebook", DOCS / "make_notebook.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_notebook_has_the_cells_that_its_maker_writes(maker: ModuleType) -> None:
    kept = nbformat.read(DOCS / "notebook.ipynb", as_version=4)
    assert [cell.source for cell in kept.cells] == [cell.source for cell in maker.notebook().cells]
    assert all(cell.get("outputs") or cell.source.startswith("from") for cell in kept.cells if cell.cell_type == "code")


@pytest.mark.long
def test_every_cell_runs_and_draws_no_cursor_codes(maker: ModuleType, tmp_path: Path) -> None:
    made = maker.execute(maker.notebook(), tmp_path)  # raises if a cell does
    printed = [output.text for cell in made.cells for output in cell.get("outputs", []) if "text" in output]
    assert any("comparisons with softmax are settled" in text for text in printed)
    assert not any(CONTROL.search(text) for text in printed)
    assert any(
        "application/vnd.plotly" in kind
        for cell in made.cells
        for o in cell.get("outputs", [])
        for kind in o.get("data", {})
    )
