"""A wheel in an environment of its own: complete without the sources, and safe among packages of the same names.

The environment has the packages that tunemax needs from where these tests have them, and the index's own `envs` and
`gpt`; the folder has a `gpt.py`, an `envs/` and a `search.py` of somebody else.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.long
SOURCES = ("gpt", "envs", "search", "studies", "tunemax", "docs", "pyproject.toml", "README.md", "LICENSE")
DOCUMENTS = ("README.md", "docs/environments.md", "docs/rl.md")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def run(*words: str | Path, cwd: Path) -> str:
    """What a command prints, without anything of this clone in its way."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TUNEMAX_STORAGE"))}
    environment = {**own, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clone, folder = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("dist")
    ignored = shutil.ignore_patterns("__pycache__", "*.db*", "runs")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, clone / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, clone)
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ".", cwd=clone)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel and the index's packages of our folders' names."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    run(*PIP, f"--python={python}", "install", "--no-deps", wheel, "envs", "gpt", cwd=folder)
    (libraries,) = folder.glob("lib/python*/site-packages")
    (libraries / "needed.pth").write_text(sysconfig.get_path("purelib"))
    return python


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder of somebody who has modules of our folders' names."""
    for name in ("gpt.py", "search.py", "envs/__init__.py", "envs/environment.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise ImportError('somebody else s')\n")
    return tmp_path


def test_a_wheel_has_the_packages_their_data_and_nothing_else(wheel: Path) -> None:
    files = [name for name in zipfile.ZipFile(wheel).namelist() if not name.partition("/")[0].endswith(".dist-info")]
    sources = [path for floor in ("gpt", "envs", "search") for path in (ROOT / floor).rglob("*.py")]
    data = [*(ROOT / "studies").glob("*.yaml"), *(ROOT / "envs/agents/presets").rglob("*.yaml")]
    data += (ROOT / "envs/agents/published").iterdir()
    expected = {f"tunemax/{path.relative_to(ROOT)}" for path in (*sources, *data)}
    assert set(files) == expected | {"tunemax/__init__.py", "tunemax/__main__.py", "tunemax/py.typed"}


def test_a_source_distribution_is_complete_and_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    ignored = shutil.ignore_patterns(
        "__pycache__", "*.db*", "runs", ".*cache", ".venv", ".git", "*.egg-info", "build", "dist"
    )
    shutil.copytree(ROOT, clone, symlinks=True, ignore=ignored)
    build = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    run(sys.executable, "-c", build, tmp_path, cwd=clone)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("tunemax-*/")
    kept = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    told = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split("\n")
    in_repository = {name for name in told if name and not name.startswith((".ci", ".git", "gpt/", "envs/", "search/"))}
    assert in_repository - {"tunemax/gpt", "tunemax/envs", "tunemax/search", "tunemax/studies"} <= kept
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, ".", cwd=unpacked)
    (built,) = tmp_path.glob("*.whl")
    assert sorted(zipfile.ZipFile(built).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


def test_a_packaged_question_is_run_in_an_empty_folder(python: Path, tmp_path: Path) -> None:
    tunemax = python.with_name("tunemax")
    listed = run(tunemax, "study", "files", cwd=tmp_path)
    assert re.findall(r"tunemax study run (\S+)", listed) == [
        path.stem for path in sorted((ROOT / "studies").glob("*.yaml")) if not path.name.startswith("rl_")
    ]
    words = ("study", "run", "softmax_variants", "--seconds", "1", "--workers", "1")
    assert "The time is spent. Go on with tunemax study run softmax_variants\n" in run(tunemax, *words, cwd=tmp_path)
    assert (tmp_path / "tunemax.db").exists()
    (row,) = json.loads(run(python, "-m", "tunemax", "study", "list", "--json", cwd=tmp_path))
    assert (row["name"], row["candidates"]) == ("softmax_variants", 7)
    assert row["waiting"] > row["complete"] + row["pruned"]  # those that began within the second were trained
    assert row["waiting"] + row["complete"] + row["pruned"] + row["diverged"] == 7 * 9


def test_every_module_is_ours_where_others_have_the_names(python: Path, elsewhere: Path) -> None:
    program = """
import json, pkgutil, sys
import tunemax
for module in pkgutil.walk_packages(tunemax.__path__, "tunemax."):
    if module.name != "tunemax.__main__":
        __import__(module.name)
bare = [name for name in sys.modules if name.partition(".")[0] in ("gpt", "envs", "search")]
print(json.dumps([sorted(bare), tunemax.__file__, sum(name.startswith("tunemax.") for name in sys.modules)]))
"""
    bare, file, modules = json.loads(run(python, "-c", program, cwd=elsewhere))
    assert bare == []
    assert Path(file).is_relative_to(python.parents[1])
    assert modules > 150


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_code_that_is_shown_runs_where_others_have_the_names(document: str, python: Path, elsewhere: Path) -> None:
    examples = re.findall(r"^```python\n(.*?)^```$", (ROOT / document).read_text(), flags=re.MULTILINE | re.DOTALL)
    if any("studies/tunemax.db" in code for code in examples):  # which `make study` has made
        (elsewhere / "studies").mkdir()
        small = (ROOT / "studies/softmax_variants.yaml").read_text().replace("horizon: 800", "horizon: 60")
        (elsewhere / "studies/softmax_variants.yaml").write_text(small)
        run(python, "-m", "tunemax", "study", "create", "studies/softmax_variants.yaml", cwd=elsewhere)
    program = f"for code in {examples!r}:\n    exec(compile(code, 'shown', 'exec'), {{'__name__': '__main__'}})"
    assert examples
    run(python, "-W", "error::DeprecationWarning:tunemax", "-c", program, cwd=elsewhere)


def test_from_a_clone_a_bare_name_is_refused_with_ours() -> None:
    for name in ("gpt", "envs", "search"):
        done = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True)
        assert done.stderr.splitlines()[-1] == (
            f"ImportError: {name}: this folder is imported as tunemax.{name}; write `from tunemax import {name}`"
        )
