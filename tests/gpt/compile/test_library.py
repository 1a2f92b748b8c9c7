"""Compiled functions as files: made once, by one process, from exactly what they say, whatever happens to who makes
them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tunemax.gpt import hardware
from tunemax.gpt.compile import library, step

PROGRAM = """
import sys
import torch
from tunemax.gpt.compile import library, step

torch.set_num_threads(1)


def trace():
    with open(sys.argv[2], "a") as file:
        file.write("traced ")
    def doubled(x, y):
        y.copy_(y + x)
        return (x * 2,)

    return step._traced(doubled, [torch.ones(2, 3), torch.ones(2, 3)], [(), ()])


function = library.compiled(sys.argv[1], trace)
x, y = torch.full((2, 3), 3.0), torch.ones(2, 3)
(doubled,) = function(x, y)
print(doubled.sum().item(), y.sum().item(), "torch._inductor" in sys.modules)
"""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where functions are kept."""
    monkeypatch.setenv(library.CACHE, str(tmp_path / "compiled"))
    (tmp_path / "compiled").mkdir()
    return tmp_path / "compiled"


def ask(key: str, notes: Path, **environment: str) -> subprocess.Popen[str]:
    """A process that wants the function of a key."""
    program = [sys.executable, "-W", "ignore", "-c", PROGRAM, key, str(notes)]
    pipe, env = subprocess.PIPE, {**os.environ, **environment}
    return subprocess.Popen(program, stdout=pipe, stderr=pipe, text=True, start_new_session=True, env=env)


def answer(process: subprocess.Popen[str]) -> list[str]:
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    return out.split()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_one_process_makes_a_function_and_all_others_load_it(folder: Path, tmp_path: Path) -> None:
    """Killed while its compiler runs, it leaves nothing in the way; broken, the file is made again."""
    notes, begun = tmp_path / "notes", tmp_path / "begun"
    slow = tmp_path / "bin" / "g++"
    slow.parent.mkdir()
    slow.write_text(
        f'#!/bin/sh\ncase "$*" in *.cpp*) echo > {begun}; exec sleep 600;; esac\nexec {shutil.which("g++")} "$@"\n'
    )
    slow.chmod(0o755)
    killed = ask("double", notes, PATH=f"{slow.parent}:{os.environ['PATH']}")
    while not begun.exists():
        assert killed.poll() is None
        time.sleep(0.05)
    waiting = [ask("double", notes) for _ in range(2)]
    time.sleep(1)
    os.kill(killed.pid, signal.SIGKILL)  # its compiler goes on, as an orphan
    assert sorted(map(answer, waiting)) == [["36.0", "24.0", "False"], ["36.0", "24.0", "True"]]
    assert notes.read_text().split() == ["traced"] * 2
    with contextlib.suppress(ProcessLookupError):
        os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    (kept,) = folder.glob("*.so")

    both = [ask("double", notes) for _ in range(2)]
    assert [answer(process) for process in both] == [["36.0", "24.0", "False"]] * 2
    assert notes.read_text().split() == ["traced"] * 2

    kept.unlink()  # not written over: a process that has it open would read the new bytes
    kept.write_bytes(b"no library")
    assert answer(ask("double", notes))[:2] == ["36.0", "24.0"]
    assert notes.read_text().split() == ["traced"] * 3
    assert sorted(path.suffix for path in folder.iterdir() if path.is_file()) == [".lock", ".so"]


def test_a_name_stands_for_all_that_a_function_is_made_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "variant.py"
    source.write_text("x")
    before = library.digest([source])
    source.write_text("y")
    assert library.digest([source]) != before

    names = [library._name("key"), library._name("other")]
    monkeypatch.setattr(hardware, "cpu_flags", lambda: {"avx2", "new"})
    names.append(library._name("key"))
    monkeypatch.setattr(library, "CODE", before)
    names.append(library._name("key"))
    monkeypatch.setenv("TORCHINDUCTOR_EMULATE_PRECISION_CASTS", "1")
    names.append(library._name("key"))
    assert len(set(names)) == len(names)
    monkeypatch.setenv(library.CACHE, str(tmp_path))
    assert library._name("key") == names[-1]


def test_a_function_for_some_numbers_of_members_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a variant that looks at how many there are: it would be used for all of them."""

    def uneven(x: torch.Tensor) -> tuple[torch.Tensor]:
        return (x * 2 if x.shape[0] > 3 else x,)

    def made(graph: object, inputs: object, options: dict[str, str]) -> str:
        Path(options["aot_inductor.output_path"], "made.so").write_bytes(b"")
        return str(Path(options["aot_inductor.output_path"], "made.so"))

    monkeypatch.setattr("torch._inductor.aot_compile", made)
    with pytest.raises(RuntimeError, match=r"holds where .* > 3 only"):
        library.compiled("key", lambda: step._traced(uneven, [torch.ones(2, 3)], [(8,)]))
    assert not list(folder.glob("*.so"))


def test_a_folder_without_programs_is_a_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function there could be written, and never loaded."""
    assert library.compiler_fault() is None
    plain = os.statvfs(folder)
    values = [*plain]
    values[8] |= os.ST_NOEXEC  # f_flag
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(values))
    assert (
        library.compiler_fault()
        == f"{folder} is on a file system without programs (noexec); set {library.CACHE} to another folder"
    )


def test_what_torch_keeps_lies_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would choose a folder in /tmp while it traces, and the next function would follow it."""
    monkeypatch.setenv(library.CACHE, "")
    monkeypatch.setenv("TUNEMAX_DATA", str(tmp_path))
    monkeypatch.setattr(library, "_compile", lambda graph, inputs, place: place.touch())
    monkeypatch.setattr(library, "_load", lambda place: print)

    def trace() -> library.Traced:
        from torch._inductor.runtime.cache_dir_utils import cache_dir

        assert cache_dir() == str(tmp_path / ".compiled")
        return torch.fx.GraphModule({}, torch.fx.Graph()), []

    for key in ("iteration", "evaluation"):
        library.compiled(key, trace)
    assert len(list((tmp_path / ".compiled").glob("*.so"))) == 2
    assert (tmp_path / ".compiled").stat().st_mode & 0o777 == 0o700


def test_a_full_disk_leaves_no_half_of_a_function(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(graph: object, inputs: object, options: dict[str, str]) -> str:
        Path(options["aot_inductor.output_path"], "half.so").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch._inductor.aot_compile", full)
    with pytest.raises(OSError, match="No space left"):
        library.compiled("key", lambda: (torch.fx.GraphModule({}, torch.fx.Graph()), []))
    assert [path.suffix for path in folder.iterdir()] == [".lock"]
