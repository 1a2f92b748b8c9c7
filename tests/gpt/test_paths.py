"""Names and files: a path that is made of a name lies in its folder, and only what we have made is removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import PARTIAL, forget
from tunemax.gpt.paths import inside

PARTS = st.one_of(st.text(max_size=12), st.sampled_from(["..", ".", "", "/", "~", "\0", "a", "..\\..", "%2e%2e", "…"]))
NAMES = st.one_of(st.text(), st.lists(PARTS, max_size=5).map("/".join))


HOSTILE = (
    *(
        "..",
        ".",
        "",
        "/",
        "/etc",
        "a/..",
        "../a",
        "a/../../b",
        "a//b",
        "a/",
        "a\\b",
        "a\0b",
        "a\nb",
        "a\x1b[2J",
        "a\x7f",
    ),
    *("a\u202egnp", "a\u2028b", "a\udcff", "x" * 256, "ü" * 128),
)


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_no_name_leaves_its_folder(names: list[str]) -> None:
    root = Path("/nowhere/runs")
    try:
        path = inside(root, *names)
    except TunemaxError:
        return
    assert Path(os.path.normpath(path)) == path
    assert path.is_relative_to(root)
    assert path != root
    assert path.relative_to(root).parts == tuple("/".join(names).split("/"))
    os.fsencode(path)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_what_could_lead_out_or_be_no_file_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(TunemaxError, match="names no file in") as refusal:
        inside(tmp_path, "q", name)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("name", ["softmax", "2.5", "true", "q.confirmed-4x", "..a", "a b", "Größe", "~", "-"])
def test_ordinary_names_are_taken_as_they_are(name: str, tmp_path: Path) -> None:
    assert inside(tmp_path, f"q/{name}", "00007") == tmp_path / "q" / name / "00007"


def test_a_link_that_leads_out_is_refused_and_one_that_stays_is_followed(tmp_path: Path) -> None:
    runs, victim = tmp_path / "runs", tmp_path / "victim"
    for folder in (runs / "there", victim):
        folder.mkdir(parents=True)
    (runs / "q").symlink_to(victim)
    (runs / "near").symlink_to(runs / "there")
    (runs / "itself").symlink_to("itself")
    for name in ("q", "q/softmax", "itself"):
        with pytest.raises(TunemaxError, match="leads out of"):
            inside(runs, name)
    assert inside(runs, "near/softmax") == runs / "near" / "softmax"
    elsewhere = tmp_path / "a big disk"
    elsewhere.symlink_to(runs)
    assert inside(elsewhere, "there/00001") == elsewhere / "there" / "00001", "where it lies itself, the user says"


def test_only_what_was_made_is_forgotten(tmp_path: Path) -> None:
    trial, victim = tmp_path / "trial", tmp_path / "victim"
    for folder in (trial / f"{PARTIAL}dead", trial / "events.mine", victim / f"{PARTIAL}dead"):
        folder.mkdir(parents=True)
    for file in (trial / "events.1", trial / f"{PARTIAL}dead" / "events.2", victim / "events.3", trial / "notes"):
        file.write_bytes(b"12345")
    (trial / "events.link").symlink_to(victim / "events.3")
    (trial / f"{PARTIAL}link").symlink_to(victim)
    assert forget(trial, ("events.*", PARTIAL + "*")) >= 10
    assert sorted(path.name for path in trial.iterdir()) == ["events.mine", "notes"]
    assert (victim / "events.3").exists()
    (trial / "notes").unlink()
    (trial / "events.mine").rmdir()
    assert forget(trial, ()) == 0
    assert not trial.exists()
    assert forget(trial, ("*",)) == 0
