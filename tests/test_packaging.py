"""Packaging: every dependency is pinned once, the pins are what is installed, and `make` refuses what cannot work."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = CONFIG["project"]
EXTRAS = PROJECT["optional-dependencies"]
DIRECT = [Requirement(text) for texts in (PROJECT["dependencies"], *EXTRAS.values()) for text in texts]
DIRECT = [requirement for requirement in DIRECT if requirement.name != "tunemax"]
MAKEFILE = (ROOT / "Makefile").read_text()
LINES = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
PINS = dict(line.split("==") for line in LINES)


def needed() -> set[str]:
    """The names of all packages that tunemax and its tests need here, directly or not."""
    todo, names = list(DIRECT), set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name not in names:
            names.add(name)
            further = [Requirement(text) for text in distribution(name).requires or ()]
            todo += [each for each in further if not each.marker or each.marker.evaluate({"extra": ""})]
    return names


def test_the_index_shows_the_readme_without_links_that_lead_nowhere() -> None:
    spec = importlib.util.spec_from_file_location("make_index_page", ROOT / "docs" / "make_index_page.py")
    assert spec
    assert spec.loader
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    shown = (ROOT / PROJECT["readme"]).read_text()
    assert shown == maker.page((ROOT / "README.md").read_text()), "run docs/make_index_page.py"
    assert [link for link in re.findall(r"\]\(([^)]*)\)", shown) if not link.startswith("http")] == []


def test_every_package_has_one_plain_pin() -> None:
    assert len(PINS) == len(LINES)
    assert [canonicalize_name(name) for name in PINS] == sorted(PINS)
    for text in PINS.values():
        assert Version(text).local is None, "a local version cannot be installed everywhere"
        assert str(Version(text)) == text


def test_every_package_that_is_needed_is_pinned() -> None:
    # Its wheel for CUDA pins them
    brought_by_torch = {name for name in needed() if name.startswith(("nvidia-", "cuda-", "triton"))}
    assert needed() - brought_by_torch <= set(PINS)


@pytest.mark.parametrize("name", PINS)
def test_what_is_installed_is_what_is_pinned(name: str) -> None:
    assert Version(version(name)).public == PINS[name], "run `make test`, which installs the pins"


@pytest.mark.parametrize("requirement", DIRECT, ids=str)
def test_the_lower_bounds_admit_the_pins(requirement: Requirement) -> None:
    assert PINS[canonicalize_name(requirement.name)] in requirement.specifier
    bounds = [">=", "<"] if requirement.name == "optuna" else [">="]  # search/storage uses its private parts
    assert requirement.name.startswith("types-") or {bound.operator for bound in requirement.specifier} == {*bounds}


@pytest.mark.parametrize("path", ["pyproject.toml", "constraints.txt", "Makefile", ".ci/run"])
def test_no_host_is_named(path: str) -> None:
    assert "://" not in (ROOT / path).read_text()
    assert "index-url" not in (ROOT / path).read_text()


def test_every_folder_of_sources_is_a_package_that_gets_installed() -> None:
    found = setuptools.find_packages(str(ROOT), include=CONFIG["tool"]["setuptools"]["packages"]["find"]["include"])
    folders = {path.parent for floor in ("gpt", "envs", "search") for path in (ROOT / floor).rglob("*.py")}
    assert set(found) == {"tunemax", *(".".join(("tunemax", *folder.relative_to(ROOT).parts)) for folder in folders)}


def test_the_command_is_installed_and_works_from_any_folder(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("tunemax")
    done = subprocess.run([command, "fields"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "learning_rate = 0.005" in done.stdout


def test_ci_runs_every_test_whatever_its_mark() -> None:
    runs = re.findall(r"^(test\S*): .*\n(?:\t.*\n)*?\t.* pytest -m (.+) \$\(PYTEST_ARGS\)$", MAKEFILE, re.MULTILINE)
    assert runs == [
        ("test", '"not services and not long"'),
        ("test-services", "services"),
        ("test-long", "long"),
    ]
    commands = re.findall(r"^make (\S+)$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert commands == [target for target, _ in runs]


def test_make_refuses_an_old_python_in_one_line(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "python3.10"
    old.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "import sys; sys.version_info = (3, 10, 1)\n$2"\n')
    old.chmod(0o755)
    for goal in ("study", "test"):
        done = subprocess.run(
            ["make", "--no-print-directory", goal, f"PYTHON={old}"],
            cwd=tmp_path,
            env=_without_make(),
            capture_output=True,
            text=True,
            check=False,
        )
        said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("make")]
        assert done.returncode != 0
        assert said == [f"tunemax needs Python 3.11 or later; {old} is 3.10: make PYTHON=python3.11"]
        assert not (tmp_path / ".venv").exists()


def test_make_installs_again_only_if_the_pins_or_dependencies_changed(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    stamps = [tmp_path / ".venv" / name for name in ("installed", "installed-test")]
    stamps[0].parent.mkdir()
    for stamp in stamps:
        stamp.touch()

    def plan() -> str:
        return subprocess.run(
            ["make", "-n", "test"], cwd=tmp_path, env=_without_make(), capture_output=True, text=True, check=True
        ).stdout

    assert "pytest" in plan()
    assert "pip" not in plan()
    later = stamps[1].stat().st_mtime + 10
    os.utime(tmp_path / "constraints.txt", (later, later))
    assert plan().count("--editable") == 2
    assert plan().count("--constraint constraints.txt") == 3


def _without_make() -> dict[str, str]:
    """The environment without what an outer `make test` hands down to an inner make."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PYTHON", "PYTEST_ARGS")
    }
