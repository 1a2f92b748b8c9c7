"""What others could have written is not loaded and not believed: compiled functions, locks, what was measured."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tunemax.gpt import matmul, trust
from tunemax.gpt.compile import library
from tunemax.gpt.config import Config
from tunemax.search.machine import calibration
from tunemax.search.machine.calibration import Shares

NOBODY = 65534
Give = Callable[[Path], None]


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Give:
    """Makes a path another user's; only root can, so that others become somebody else themselves."""

    def away(path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: NOBODY)

    return away


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of three: shared/deep/cache; what is this user's own is beside it."""
    made = tmp_path / "shared" / "deep" / "cache"
    made.mkdir(parents=True)
    for place in (made, *made.parents[:2]):
        place.chmod(0o755)
    monkeypatch.setattr(trust, "caches", lambda: tmp_path / "own")
    yield made
    trust._tell.cache_clear()


def _by_others(place: Path, give: Give) -> None:
    place.chmod(place.stat().st_mode | 0o002)


def _by_a_group(place: Path, give: Give) -> None:
    place.chmod(place.stat().st_mode | 0o020)
    if os.geteuid() == 0:
        os.chown(place, 0, NOBODY)


def _given(place: Path, give: Give) -> None:
    give(place)


def _a_link_of_others(place: Path, give: Give) -> None:
    place.rename(place.with_name("moved"))
    place.symlink_to(place.with_name("moved"))
    give(place)


def _a_link_to_where_others_write(place: Path, give: Give) -> None:
    open_ = place.parents[2] / "open"
    open_.mkdir()
    open_.chmod(0o777)
    place.rename(open_ / place.name)
    place.symlink_to(open_ / place.name)


def _above(place: Path, give: Give) -> None:
    place.parents[1].chmod(0o777)


KINDS = (_by_others, _by_a_group, _given, _a_link_of_others, _a_link_to_where_others_write, _above)
if os.geteuid() != 0:
    KINDS = (_by_others, _given, _a_link_of_others, _a_link_to_where_others_write, _above)  # nobody gives away a group


@pytest.mark.parametrize("spoil", KINDS, ids=lambda kind: kind.__name__.strip("_"))
def test_what_others_could_write_is_distrusted(folder: Path, give: Give, spoil: Callable[[Path, Give], None]) -> None:
    assert trust.fault(folder) is None
    assert trust.fault(folder / "not there yet" / "x.so") is None
    spoil(folder, give)
    for path in (folder, folder / "not there yet" / "x.so"):
        assert trust.fault(path), path


def test_a_sticky_folder_protects_what_lies_in_it(folder: Path, give: Give) -> None:
    folder.parent.chmod(0o1777)  # as /tmp
    assert trust.fault(folder) is None
    give(folder)
    assert trust.fault(folder) == f"{folder} belongs to another user" or os.geteuid() == NOBODY


def test_many_links_are_distrusted_and_a_circle_ends(folder: Path) -> None:
    (folder / "0").symlink_to(folder / "1")
    (folder / "1").symlink_to(folder / "0")  # nothing can be opened there, whoever writes
    assert trust.fault(folder / "0") is None
    for i in range(2, 60):
        (folder / str(i)).symlink_to(folder / str(i + 1))
    assert "too many links" in str(trust.fault(folder / "2"))


def test_folders_are_made_for_their_user_alone(folder: Path) -> None:
    before = os.umask(0)
    try:
        trust.make_private(folder / "a" / "b")
    finally:
        os.umask(before)
    assert [(folder / name).stat().st_mode & 0o777 for name in ("a", "a/b")] == [0o700, 0o700]
    assert trust.fault(folder / "a" / "b") is None


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was loaded; a compiler that makes files of one word."""
    loaded: list[bytes] = []

    def load(place: Path) -> library.Compiled:
        loaded.append(place.read_bytes())
        return lambda *_: []

    def make(graph: object, inputs: object, place: Path) -> None:
        place.with_suffix(".new").write_bytes(b"ours")
        place.with_suffix(".new").replace(place)

    monkeypatch.setattr(library, "_load", load)
    monkeypatch.setattr(library, "_compile", make)
    return loaded


def compiled() -> None:
    library.compiled("key", lambda: (torch.fx.GraphModule({}, torch.fx.Graph()), []))


@pytest.mark.parametrize("of", ["file", "folder"])
@pytest.mark.parametrize("spoil", KINDS, ids=lambda kind: kind.__name__.strip("_"))
def test_a_function_that_others_could_have_made_is_made_anew(
    folder: Path,
    give: Give,
    loads: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path, Give], None],
    of: str,
) -> None:
    monkeypatch.setenv(library.CACHE, str(folder))
    compiled()
    (file,) = folder.glob("*.so")
    file.write_bytes(b"hostile")
    precious = folder.parent / "precious"
    precious.write_text("kept")
    file.with_suffix(".lock").unlink()
    spoil(file if of == "file" else folder, give)
    capsys.readouterr()
    if of == "folder":
        lock = folder / file.with_suffix(".lock").name
        lock.symlink_to(precious)
        for _ in range(2):
            compiled()
        told = capsys.readouterr().err.splitlines()
        assert len([line for line in told if "is used instead of" in line]) == 1
    elif os.geteuid() == 0 or spoil is not _given:
        compiled()
    assert b"hostile" not in loads
    assert loads[0] == b"ours"
    assert precious.read_text() == "kept"


def test_without_a_folder_of_ones_own_nothing_is_compiled(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(library.CACHE, str(folder))
    monkeypatch.setattr(trust, "caches", lambda: folder / "own")
    folder.chmod(0o777)
    assert f"{folder} can be written by other users" in str(library.compiler_fault())


def test_a_lock_that_leads_elsewhere_is_not_followed(
    folder: Path, loads: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(library.CACHE, str(folder))
    compiled()
    (file,) = folder.glob("*.so")
    file.unlink()
    (folder / "precious").write_text("kept")
    file.with_suffix(".lock").unlink()
    file.with_suffix(".lock").symlink_to(folder / "precious")
    with pytest.raises(Exception, match="expected a lock"):
        compiled()
    assert (folder / "precious").read_text() == "kept"


@pytest.mark.parametrize("spoil", KINDS, ids=lambda kind: kind.__name__.strip("_"))
def test_what_others_could_have_measured_is_not_believed(
    folder: Path, give: Give, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path, Give], None]
) -> None:
    monkeypatch.setenv("TUNEMAX_DATA", str(folder))
    config = Config.of({"n_layer": 1})
    calibration._remember(config, Shares(1, 1, 4))
    assert calibration.remembered(config) == Shares(1, 1, 4)
    found = matmul.Measured(route="default", reason="ours", gflops=80, errors={})
    monkeypatch.setattr(matmul, "measure", lambda: found)
    assert matmul.remembered() == found
    (machines,) = folder.glob(".machines")
    for file in machines.iterdir():
        data = json.loads(file.read_text())
        hostile = (
            data | {"reason": "hostile"} if "reason" in data else {key: {**data[key], "slots": 9999} for key in data}
        )
        file.write_text(json.dumps(hostile))
    assert calibration.remembered(config) == Shares(1, 1, 9999)
    spoil(machines, give)
    assert calibration.remembered(config) is None
    assert matmul.remembered().reason == "ours"
