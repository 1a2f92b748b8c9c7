"""Nobody looks up: which package may import what, read from the sources and seen in a fresh interpreter."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STUDIES = {"optuna", "optuna_dashboard", "optunahub", "sqlalchemy", "alembic"}
AGENTS = {"gymnasium", "sb3_contrib", "stable_baselines3"}
FORBIDDEN = {"gpt": {"envs", "search"} | STUDIES | AGENTS, "envs": {"search"} | STUDIES, "search": AGENTS}
ALLOWED_IN_GPT = {"gpt", "torch", "numpy", "pydantic", "annotated_types", "safetensors", "tensorboard", "yaml"}
MODULES = sorted(path.relative_to(ROOT) for floor in FORBIDDEN for path in (ROOT / floor).rglob("*.py"))


def imported(source: str, path: Path) -> set[str]:
    """The top-level packages that a source imports: anywhere in it, by statement or by `import_module("name")`."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            up = path.parts[: len(path.parts) - node.level] if node.level else ()
            names.append(".".join([*up, node.module or ""]))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")) and node.args:
            names += [str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant)]
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_look_down_only(path: Path) -> None:
    found = imported((ROOT / path).read_text(), path)
    assert not found & FORBIDDEN[path.parts[0]]
    if path.parts[0] == "gpt":
        assert found - set(sys.stdlib_module_names) <= ALLOWED_IN_GPT


@pytest.mark.parametrize(
    "source",
    [
        "import optuna.samplers",
        "from optuna import create_study",
        "def later():\n    import optuna",
        "import importlib\nimportlib.import_module('optuna.storages')",
        "if False:\n    from optuna.trial import Trial",
    ],
)
def test_the_walk_sees_every_kind_of_import(source: str) -> None:
    assert "optuna" in imported(source, Path("gpt/model.py"))


def test_the_walk_resolves_relative_imports() -> None:
    assert imported("from ..errors import TunemaxError", Path("gpt/data/corpus.py")) == {"gpt"}


@pytest.mark.parametrize("floor", ["gpt", "envs"])
def test_importing_a_floor_loads_nothing_from_above(floor: str) -> None:
    modules = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in MODULES if path.parts[0] == floor]
    program = f"import sys, json, {', '.join(modules)}; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not set(json.loads(loaded)) & FORBIDDEN[floor]
