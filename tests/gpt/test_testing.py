"""The contract of parts as a kit: it finds what a part does not keep, and says where."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from plugged import HEAD, HOT, forgetting, written

from tunemax.gpt import plugins
from tunemax.gpt.plugins import FAMILIES
from tunemax.gpt.testing import breaches, cases
from tunemax.gpt.testing.softmax import PROMISES

WEIGHTS = "        return masked_softmax(x * number(self.heat, x), mask).to(logits.dtype)\n"
BROKEN = {
    "masked_keys_weigh_nothing": ("        return (x * self.heat).exp()\n", 8),
    "huge_logits_stay_finite": ("        return (x * self.heat).exp() * mask\n", 8),
    "padding_changes_nothing": ("        return masked_softmax(x * number(self.heat, x), mask) / x.shape[-1]\n", 8),
    "draws_nothing_from_a_global": (
        f"        import torch\n\n        torch.rand(1)\n{WEIGHTS}",
        8,
    ),
    "stacked_members_equal_single_ones": ("        return masked_softmax(x * float(self.heat), mask)\n", 16),
}


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgetting():
        yield


@pytest.mark.parametrize("promise", BROKEN)
def test_what_a_variant_does_not_keep_is_a_line_with_its_place(promise: str, tmp_path: Path) -> None:
    weights, line = BROKEN[promise]
    path = written(tmp_path, HEAD + HOT.replace(WEIGHTS, weights))
    plugin = plugins.load(path)
    own = [case for case in cases(plugin.kinds) if case.promise in {each.__name__ for each in PROMISES}]
    found = [said for said in breaches(own) if promise.replace("_", " ") in said]
    assert len(found) == 1, "one line, however many settings it concerns"
    assert found[0].startswith(f"{path}:{line}: hot (")
    assert "\n" not in found[0]


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_each_template_keeps_the_contract(family: str, tmp_path: Path) -> None:
    template = (files("tunemax.gpt.plugins.templates") / f"{family}.py").read_text()
    assert len(template.splitlines()) < 65
    path = written(tmp_path, template.replace("Template", "Mine").replace("template", "mine"), name="mine")
    plugin = plugins.load(path)
    assert [(kind.name, kind.field) for kind in plugin.kinds] == [("mine", FAMILIES[family].field)]
    tried = list(cases(plugin.kinds))
    assert len(tried) > 8
    assert list(breaches(tried)) == []


def test_pytest_runs_the_contract_of_what_is_loaded(tmp_path: Path) -> None:
    written(tmp_path)
    loads = "from tunemax.gpt import plugins\nplugins.load('hot_variant.py')\n"
    (tmp_path / "test_hot.py").write_text(f"{loads}def test_contract(contract):\n    contract()\n")
    words = ("-q", "-p", "tunemax.gpt.testing", "-p", "no:cacheprovider", "-k", "padding or explains")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "test_hot.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout
    assert "6 passed" in ended.stdout, ended.stdout
