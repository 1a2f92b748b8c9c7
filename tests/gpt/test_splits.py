"""How a text is split: slices of equal size that repeat nothing of train, stable, and as older tunemax did it."""

from __future__ import annotations

import itertools
import string
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunemax.gpt.data import PARTS, SLICES, Part, load, open_data, prepare, sources, splits
from tunemax.gpt.data import texts as texts_module
from tunemax.gpt.data.repeats import COUNTED, SPAN, leaks, repeated, whole_lines, without

LICENSE = b"# Whoever copies this file keeps these lines in it, and says in what it has been changed.\n"


def noise(size: int, seed: int) -> bytes:
    """Lines of random letters: nothing in it is repeated."""
    draw = np.random.Generator(np.random.Philox(seed))
    letters = np.frombuffer(string.ascii_letters.encode() + b"  \n", np.uint8)
    return bytes(draw.choice(letters, size)) + b"\n"


def spans(text: bytes) -> set[bytes]:
    return {text[i : i + SPAN] for i in range(len(text) - SPAN + 1)}


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text)
    return folder


def split(folder: Path) -> dict[Part, bytes]:
    names = sources._files(folder, sources.re.compile(r"\..*"))
    parts = splits.by_file(folder, names, lambda text: "").parts
    return {part: b"".join(parts[part]) for part in PARTS}


def leaked(parts: Mapping[Part, bytes], counted: int = COUNTED, chunk: int = 1000) -> dict[Part, float]:
    chunks = {part: [text[i : i + chunk] for i in range(0, len(text), chunk)] for part, text in parts.items()}
    return leaks(chunks, {part: len(text) for part, text in parts.items()}, counted)


# --- what is repeated


texts_with_copies = st.lists(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 200), st.integers(0, 200)), max_size=5), min_size=1, max_size=6
)


@settings(max_examples=60)
@given(texts_with_copies, st.sampled_from([1 << 25, 40]))
def test_every_repeated_span_is_found_and_nothing_that_is_not(
    recipe: list[list[tuple[int, int, int]]], indexed: int
) -> None:
    """Texts are made of pieces of eight long ones, so that they share passages of any length."""
    quarry = [noise(400, seed) for seed in range(8)]
    texts = [b"".join(quarry[which][start : start + length] for which, start, length in text) for text in recipe]
    found = repeated(texts, indexed)
    before: set[bytes] = set()
    short: set[bytes] = set()
    for text, passages in zip(texts, found, strict=True):
        inside = {i for start, end in passages for i in range(start, end)}
        for i in range(len(text) - SPAN + 1):
            if text[i : i + SPAN] in before:
                assert i + SPAN // 2 in inside, "the middle of a leaked span is cut, so the span is gone"
        for start, end in passages:
            assert 0 <= start < end <= len(text)
            assert text[start : start + 56] in short, "it did stand in an earlier text"
        assert all(one[1] < other[0] for one, other in itertools.pairwise(passages))
        before |= spans(text)
        short |= {text[i : i + 56] for i in range(len(text) - 55)}


def test_a_text_may_repeat_itself() -> None:
    assert repeated([LICENSE * 9, b"", noise(500, 1)]) == [[], [], []]
    assert repeated([]) == []


def test_windows_that_differ_in_two_last_bytes_of_words_are_different() -> None:
    """Which a plain sum of products of words would take for equal in one case of 256."""
    words = [f"{i:07}".encode() for i in range(7)]
    texts = [b"".join(w + bytes([b]) for w, b in zip(words, last, strict=True)) for last in np.ndindex(*[3] * 7)]
    assert not any(repeated(texts))


def test_a_passage_is_cut_with_the_lines_whose_words_it_touches() -> None:
    text = b"    one = 1\n    two = 2\n\n    three = 3\n"
    start, end = text.index(b"wo"), text.index(b"three")
    assert without(text, whole_lines(text, [(start, end)])) == b"    one = 1\n\n    three = 3\n"
    assert whole_lines(text, [(0, 4), (5, 7)]) == [(0, 12)]
    giant = b"x" * 500 + b"y" * 70 + b"z" * 500
    assert whole_lines(giant, [(500, 570)]) == [(500, 570)], "a line that goes on for long is cut in its midst"


@settings(max_examples=30)
@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_leaks_are_shares_of_spans(tuning: int, confirmation: int, test: int) -> None:
    train = noise(2000, 1)
    texts: dict[Part, bytes] = {
        "train": train,
        "tuning": noise(600, 2)[:tuning] + train[100 : 100 + tuning],
        "confirmation": train[: 2 * confirmation],
        "test": noise(600, 3)[:test],
    }
    expected = {
        part: float(np.mean([text[i : i + SPAN] in train for i in range(len(text) - SPAN + 1)] or [0.0]))
        for part, text in texts.items()
        if part != "train"
    }
    assert leaked(texts) == pytest.approx(expected)
    assert leaked(texts, chunk=7) == pytest.approx(expected)
    for part, share in leaked(texts, counted=50).items():
        assert share == pytest.approx(expected[part], abs=0.25)


# --- a folder


def test_what_files_share_is_kept_in_one_of_them(tmp_path: Path) -> None:
    files = {f"{i}.py": LICENSE * 3 + noise(3000, i) for i in range(60)}
    copies = {f"copy/{i}.py": files[f"{i}.py"][:-50] + noise(400, 100 + i) for i in range(30)}
    shared = noise(700, 7)
    functions = {f"more/{i}.py": noise(2000, 200 + i) + shared + noise(2000, 300 + i) for i in range(20)}
    folder = write(tmp_path, files | copies | functions)
    manifest = load(prepare(str(folder), tmp_path / ".data")).manifest
    parts = split(folder)
    everything = b"".join(parts.values())
    assert everything.count(LICENSE) == 3, "one file keeps its own three"
    assert everything.count(shared[100:-100]) == 1
    assert max(leaked(parts).values()) == 0
    for part in SLICES:
        assert not spans(parts[part]) & spans(b"".join(parts[other] for other in PARTS if other != part))
        assert len(parts[part]) == pytest.approx(0.05 * len(everything), rel=0.01)
    assert manifest.left_out is not None
    assert manifest.left_out.files == 30
    assert manifest.left_out.passages >= 59 + 19
    assert manifest.left_out.of_bytes == sum(map(len, (files | copies | functions).values()))
    ends = 3  # line ends behind files whose own end has gone into a slice
    assert 0 <= len(everything) - (manifest.left_out.of_bytes - manifest.left_out.bytes) <= ends
    assert str(manifest.left_out).startswith("30 files that mostly repeat others and ")


def test_a_file_is_whole_in_one_part_where_there_are_many(tmp_path: Path) -> None:
    files = {f"{i}.txt": noise(50 * (i % 40), i) for i in range(400)}
    parts = split(write(tmp_path, files))
    whole = sum(map(len, files.values()))
    assert all(sum(text in part for part in parts.values()) == 1 for text in files.values() if len(text) > SPAN)
    assert sum(map(len, parts.values())) == whole
    for part in SLICES:
        assert len(parts[part]) == pytest.approx(0.05 * whole, rel=0.01)


@pytest.mark.parametrize("sizes", [[9000], [9000, 100], [4000, 4000], [2000] * 10, [9000, 300, 300]])
def test_slices_are_of_equal_size_where_files_are_few(sizes: list[int], tmp_path: Path) -> None:
    parts = split(write(tmp_path, {f"{i}.txt": noise(size, i) for i, size in enumerate(sizes)}))
    for part in SLICES:
        assert len(parts[part]) == pytest.approx(0.05 * sum(map(len, parts.values())), rel=0.02)
    assert max(leaked(parts).values()) == 0


@pytest.mark.parametrize("sizes", [[9000, 100, 300], [50 * (i % 40) for i in range(200)]], ids=["few", "many"])
def test_files_that_are_not_held_in_memory_are_split_alike(
    sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{i}.txt": LICENSE + noise(size, i) for i, size in enumerate(sizes)}
    folder = write(tmp_path, files | {"copy.txt": files["0.txt"]})
    held = split(folder)
    monkeypatch.setattr(splits, "HELD", 1000)
    monkeypatch.setattr(texts_module, "HELD", 1000)
    assert split(folder) == held


def test_a_file_that_comes_or_goes_moves_few_others(tmp_path: Path) -> None:
    files = {f"{i}.txt": noise(200 + 20 * (i % 40), i) for i in range(300)}
    before = split(write(tmp_path / "a", files))
    after = split(write(tmp_path / "b", {**files, "new.txt": noise(500, 999)}))
    stayed = [
        name for name, text in files.items() if any(text in before[part] and text in after[part] for part in PARTS)
    ]
    assert len(stayed) > 0.96 * len(files)
    assert split(write(tmp_path / "c", files)) == before


def test_a_large_file_is_read_in_pieces_and_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(noise(20_000, 1))
    whole, pieces = splits.by_position(path).parts, splits.by_position(path, piece=777).parts
    assert [b"".join(whole[part]) for part in PARTS] == [b"".join(pieces[part]) for part in PARTS]


# --- as it was

FIRST = "9071d3d0aa5f6b07fb3d969dde2e381ec32b5989ecf4afd50e2e313a576ab480"  # what version 1 made of the text below


def test_the_split_of_version_1_is_the_same_in_every_release_and_has_its_shares() -> None:
    parts = [splits._part_by_path(f"module_{i}.py") for i in range(4000)]
    assert [parts.index(part) for part in PARTS] == [0, 19, 4, 23]
    for part, share in splits.SHARES.items():
        assert parts.count(part) / 4000 == pytest.approx(share, abs=0.02)


def test_a_text_that_an_older_tunemax_prepared_is_opened_by_its_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEMAX_DATA", str(tmp_path / "data"))
    folder = write(tmp_path / "texts", {f"{i}.py": LICENSE + f"print({i})\n".encode() for i in range(80)})
    new = open_data(str(folder))
    assert new.manifest.version == 2
    assert new.manifest.left_out is not None
    old = open_data(str(folder), FIRST)
    assert old.manifest.fingerprint == FIRST
    assert (old.manifest.version, old.manifest.left_out) == (1, None)
    assert old.leaks()["tuning"] > 0.5
    assert "version" not in (old.folder / "manifest.json").read_text(), "older tunemax reads it, too"
    assert open_data(str(folder)).folder == new.folder != old.folder
    assert open_data(str(folder), "0" * 64).folder == new.folder, "none leads to it: the caller compares"
    assert prepare(str(folder), fingerprint=FIRST) == old.folder
