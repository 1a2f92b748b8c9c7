"""Nobody looks up: what a floor and a room may import, read from the sources and seen in a fresh interpreter."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("gpt", "envs", "search")
ROOMS = ("question", "storage", "machine", "workers", "results", "charts", "views", "rl", "api", "frames", "cli")
"""Of search, in the order of the way of a study; each may import those before it."""
STUDIES = {"optuna", "optuna_dashboard", "optunahub", "sqlalchemy", "alembic"}
AGENTS = {"gymnasium", "sb3_contrib", "stable_baselines3"}
FORBIDDEN = {"gpt": STUDIES | AGENTS, "envs": STUDIES, "search": AGENTS}
ALLOWED_IN_GPT = {"tunemax", "torch", "numpy", "pydantic", "annotated_types", "safetensors", "tensorboard", "yaml"}
EXTRAS = {
    "tunemax.gpt.data.tables": {"pyarrow"},
    "tunemax.gpt.tokenizers.bpe": {"tokenizers"},
    "tunemax.gpt.tokenizers.tiktoken": {"tiktoken"},
    "tunemax.search.workers.ray_crew": {"ray"},
}
"""What one module has from a package that need not be installed: it imports that when it is used."""
PRIVATE = {"_backend", "_cached_frozen_trial", "_storage", "_study_id", "_trial_id"}
"""Attributes of Optuna's objects that are not documented, as its modules with such names are not."""
PATHS = sorted(path.relative_to(ROOT) for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))


def module(path: Path) -> str:
    return ".".join(("tunemax", *path.with_suffix("").parts)).removesuffix(".__init__")


MODULES = {module(path) for path in PATHS}


def imported(source: str, path: Path) -> set[str]:
    """The modules that a source imports: anywhere in it, by statement or by `import_module("name")`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = ("tunemax", *path.parts)
            base = ".".join(
                [*parts[: len(parts) - node.level], node.module or ""] if node.level else [node.module or ""]
            ).strip(".")
            within = {f"{base}.{alias.name}" for alias in node.names}
            names |= within & MODULES or {base}
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith(("import_module", "__import__"))
            and node.args
        ):
            names |= {str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant)}
    return names


def packages(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


IMPORTS = {module(path): imported((ROOT / path).read_text(), path) for path in PATHS}


def place(name: str) -> tuple[int, int]:
    """Floor and room of one of our modules; `tunemax.search` itself, which hands on what `api` and `frames` have, is as
    high as those."""
    floor, room = [*name.split("."), "frames"][1:3]
    return FLOORS.index(floor), ROOMS.index(room) if floor == "search" else 0


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_look_down_only(name: str) -> None:
    ours = {found for found in IMPORTS[name] if found.startswith("tunemax.")}
    assert not [found for found in ours if place(found) > place(name)]
    assert not packages(IMPORTS[name]) & {*FORBIDDEN[name.split(".")[1]], *FLOORS}
    if name.startswith("tunemax.gpt"):
        foreign = packages(IMPORTS[name]) - set(sys.stdlib_module_names)
        assert foreign <= ALLOWED_IN_GPT | EXTRAS.get(name, set())


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = {name: imports & MODULES - {name} for name, imports in IMPORTS.items()}
    while free := {name for name, imports in left.items() if not imports}:
        left = {name: imports - free for name, imports in left.items() if name not in free}
    assert not left, "what is left imports each other, or what does"


@pytest.mark.parametrize("path", [path for path in PATHS if path.parts[:2] != ("search", "storage")], ids=str)
def test_private_parts_of_optuna_are_used_in_one_room(path: Path) -> None:
    source = (ROOT / path).read_text()
    assert not [name for name in imported(source, path) if name.startswith("optuna.") and "._" in name]
    attributes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)]
    assert not [
        ast.unparse(node)
        for node in attributes
        if node.attr in PRIVATE and ast.unparse(node.value) not in ("self", "cls")
    ]


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
    assert "optuna" in packages(imported(source, Path("gpt/model.py")))


def test_the_walk_resolves_modules_and_relative_imports() -> None:
    assert imported("from ..errors import TunemaxError", Path("gpt/data/corpus.py")) == {"tunemax.gpt.errors"}
    assert imported("from tunemax.gpt import errors, files", Path("gpt/run.py")) == {
        "tunemax.gpt.errors",
        "tunemax.gpt.files",
    }


@pytest.mark.parametrize("floor", ["gpt", "envs"])
def test_importing_a_floor_loads_nothing_from_above(floor: str) -> None:
    names = sorted(name for name in MODULES if name.split(".")[1] == floor)
    program = f"import sys, json, {', '.join(names)}; print(json.dumps(sorted(sys.modules)))"
    loaded = set(
        json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
    )
    above = {f"tunemax.{name}" for name in FLOORS[FLOORS.index(floor) + 1 :]}
    assert not packages(loaded) & set().union(*EXTRAS.values())
    assert not packages(loaded) & FORBIDDEN[floor]
    assert not loaded & above
