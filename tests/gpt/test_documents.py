"""Documents: rows of tables and parts of a text, each in one slice, and windows that lie in one of them."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tunemax.gpt.config import Config
from tunemax.gpt.data import PARTS, SLICES, Corpus, Part, load, open_data, prepare, skipped_of
from tunemax.gpt.data.boundaries import Documents
from tunemax.gpt.data.manifest import DOCUMENTS
from tunemax.gpt.data.skipped import Skipped
from tunemax.gpt.data.splits import SHARES, by_document
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.forced import even_windows
from tunemax.gpt.text_config import Text
from tunemax.gpt.trainer import Trainer

STORIES = [f"Story {i}: the {'very ' * (i % 7)}quick fox {i * i} jumped over the dog, naïvely." for i in range(200)]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNEMAX_DATA", str(tmp_path / "data"))
    return tmp_path


def parts_of(corpus: Corpus) -> dict[str, str]:
    return {"train": corpus.decode(corpus.train)} | {part: corpus.decode(ids) for part, ids in corpus.slices.items()}


def documents_of(corpus: Corpus) -> list[str]:
    """Each by itself, as its boundaries part them."""
    found = []
    for part in PARTS:
        tokens = corpus.train if part == "train" else corpus.slices[part]
        begins = corpus._documents[part].begins
        found += [corpus.decode(document) for document in np.split(tokens, begins[1:])]
    return found


def refusal(call: Callable[..., Any], *args: Any) -> str:
    with pytest.raises(TunemaxError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path, row_group_size=37)
    return path


ROWS = [{"id": i, "text": story, "title": None} for i, story in enumerate(STORIES)]


# --- tables


@pytest.mark.parametrize("write", [jsonl, parquet])
def test_rows_are_documents_whatever_the_table_is(root: Path, write: Callable[..., Path]) -> None:
    path = write(root / ("t.parquet" if write is parquet else "t.jsonl"), ROWS)
    corpus = open_data(Text(dataset=str(path), column="text"))
    parts = parts_of(corpus)
    assert sorted("".join(parts.values()).splitlines()) == sorted(STORIES)
    for part in SLICES:
        assert len(parts[part].encode()) == pytest.approx(0.05 * corpus.manifest.byte_counts["train"] / 0.85, rel=0.35)
    text = open_data(Text(dataset=str(jsonl(root / "same.jsonl", ROWS)), column="text"))
    assert text.manifest.fingerprint == corpus.manifest.fingerprint


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_packed_files_are_the_same_text(root: Path, ending: str, pack: Callable[[bytes], bytes]) -> None:
    table = jsonl(root / "t.jsonl", ROWS)
    plain = root / "plain.txt"
    plain.write_text("\n".join(STORIES))
    for path, column in ((table, "text"), (plain, "")):
        packed = Path(f"{path}{ending}")
        packed.write_bytes(pack(path.read_bytes()))
        found = [open_data(Text(dataset=str(each), column=column)).manifest for each in (path, packed)]
        assert found[0].fingerprint == found[1].fingerprint
        assert found[0].name == found[1].name
        packed.write_bytes(packed.read_bytes()[:-20])
        assert "cannot be unpacked" in refusal(open_data, Text(dataset=str(packed), column=column))


def test_a_folder_has_all_its_tables_and_tells_what_it_skipped(root: Path) -> None:
    folder = root / "tables"
    (folder / "more").mkdir(parents=True)
    jsonl(folder / "a.jsonl", [*ROWS[:90], {"text": ""}, {"text": None}, {"id": 7}, ROWS[3]])
    parquet(folder / "more" / "b.parquet", ROWS[90:])
    (folder / "notes.txt").write_text("no table")
    (folder / ".hidden.jsonl").write_text("{}")
    asked = Text(dataset=str(folder), column="text")
    corpus = open_data(asked)
    assert sorted("".join(parts_of(corpus).values()).splitlines()) == sorted(STORIES)
    skipped = skipped_of(asked)
    assert dict(skipped.counts) == {"hidden": 1, "no table": 1, "empty": 3, "duplicate": 1}
    assert ("empty", "a.jsonl:91") in skipped.named
    assert ("duplicate", "document 91") in skipped.named
    assert str(skipped) == "1 hidden, 3 empty, 1 no table with this column, 1 repeat others"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "broken', "t.jsonl:4: no JSON"),
        ("[1]", "t.jsonl:4: expected {...}"),
        ('{"text": 5}', "t.jsonl:4: text is 5, expected text"),
    ],
)
def test_a_row_that_is_none_is_named(root: Path, line: str, said: str) -> None:
    path = jsonl(root / "t.jsonl", ROWS[:3])
    path.write_text(path.read_text() + line + "\n")
    assert said in refusal(open_data, Text(dataset=str(path), column="text"))
    assert not list((root / "data").glob("t-*"))


def test_columns_that_do_not_exist_are_refused_with_those_that_do(root: Path) -> None:
    for path in (jsonl(root / "t.jsonl", ROWS), parquet(root / "t.parquet", ROWS)):
        said = refusal(open_data, Text(dataset=str(path), column="txt"))
        assert f"column = txt: no such column in {path.name}; did you mean `text`?" in said
        assert "known: id, text, title" in refusal(open_data, Text(dataset=str(path), column="nothing"))
    assert "a table; say --column; known: id, text, title" in refusal(open_data, str(root / "t.parquet"))
    assert "in t.parquet it is int64, expected string" in refusal(
        open_data, Text(dataset=str(root / "t.parquet"), column="id")
    )
    (root / "t.txt").write_text("no table")
    assert "t.txt is no table" in refusal(open_data, Text(dataset=str(root / "t.txt"), column="text"))
    (root / "none").mkdir()
    assert "no table in" in refusal(open_data, Text(dataset=str(root / "none"), column="text"))
    (root / "bad.parquet").write_bytes(b"PAR1 and nothing")
    assert "no parquet that can be read" in refusal(open_data, Text(dataset=str(root / "bad.parquet"), column="text"))


def test_parquet_without_its_package_says_how_to_get_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(root / "t.parquet", ROWS)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert "pip install 'tunemax[parquet]'" in refusal(open_data, Text(dataset=str(path), column="text"))


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_too_few_documents_for_the_slices_are_refused(root: Path, kept: int) -> None:
    path = jsonl(root / "t.jsonl", [{"text": ""}, *ROWS[:kept]])
    assert "no text for " in refusal(open_data, Text(dataset=str(path), column="text"))
    assert open_data(Text(dataset=str(jsonl(path, ROWS[:4])), column="text")).manifest.token_counts["train"] > 0


# --- the split


@settings(max_examples=40)
@given(st.lists(st.binary(min_size=1, max_size=30), min_size=4, max_size=60), st.randoms())
def test_each_document_is_whole_in_one_part_whatever_their_order(documents: list[bytes], draw: Any) -> None:
    skipped = Skipped()
    split = by_document(documents, skipped)
    found = {part: list(split.parts[part]) for part in PARTS}
    assert sorted(each for part in PARTS for each in found[part]) == sorted(set(documents))
    assert skipped.counts["duplicate"] == len(documents) - len(set(documents))
    assert all(list(split.parts[part]) == found[part] for part in PARTS), "as often as one asks"
    whole, longest = sum(map(len, set(documents))), max(map(len, documents))
    if len(set(documents)) >= 4:
        for part in SLICES:
            assert found[part] or whole < 4 * longest
            assert sum(map(len, found[part])) < SHARES[part] * whole + longest
    draw.shuffle(documents)
    other = by_document(documents, Skipped())
    assert all(sorted(other.parts[part]) == sorted(found[part]) for part in PARTS)


# --- kept apart


@pytest.fixture
def apart(root: Path) -> Corpus:
    path = root / "stories.txt"
    path.write_text("\n<|endoftext|>\n".join(STORIES) + "\n<|endoftext|>\n\n<|endoftext|>")
    return open_data(Text(dataset=str(path), documents="apart"))


@pytest.mark.parametrize("kind", ["byte", "char", "bpe"])
def test_documents_are_parted_where_they_end(root: Path, kind: str) -> None:
    path = root / "stories.txt"
    path.write_text("\n<|endoftext|>\n".join(STORIES))
    corpus = open_data(Text(dataset=str(path), documents="apart", tokenizer=kind, vocab_size=300))
    assert sorted(documents_of(corpus)) == sorted(f"{story}\n" for story in STORIES)
    assert sum(corpus.documents.values()) == len(STORIES)
    joined = open_data(Text(dataset=str(path), tokenizer=kind, vocab_size=300))
    assert "<|endoftext|>" in parts_of(joined)["train"]
    assert joined.documents == {}
    assert joined.manifest.fingerprint != corpus.manifest.fingerprint


def test_files_of_a_folder_are_documents(root: Path) -> None:
    folder = root / "files"
    folder.mkdir()
    for i, story in enumerate(STORIES):
        (folder / f"{i}.txt").write_text(story)
    corpus = open_data(Text(dataset=str(folder), documents="apart"))
    assert len(documents_of(corpus)) == pytest.approx(len(STORIES), abs=4)
    joined = open_data(str(folder))
    assert joined.manifest.sha256 == corpus.manifest.sha256, "the same tokens"
    assert joined.manifest.fingerprint != corpus.manifest.fingerprint


lengths = st.lists(st.integers(1, 40), min_size=1, max_size=30)


@settings(max_examples=60)
@given(lengths, st.integers(1, 30), st.floats(0, 1), st.floats(0, 1))
def test_every_place_where_a_window_fits_is_as_likely_and_no_other_is_there(
    sizes: list[int], block_size: int, one: float, other: float
) -> None:
    owner = np.repeat(np.arange(len(sizes)), sizes)
    documents = Documents(np.cumsum([0, *sizes[:-1]]), len(owner))
    first, last = sorted((round(one * len(owner)), round(other * len(owner))))
    places = documents.places(block_size, first, last)
    expected = [i for i in range(first, last - block_size) if owner[i] == owner[i + block_size]]
    assert places.at(np.arange(places.count)).tolist() == expected
    tiled = documents.tiled(block_size, first, last)
    covered = [at + k for at in tiled.tolist() for k in range(block_size)]
    assert len(set(covered)) == len(covered)
    assert all(owner[at] == owner[at + block_size] and first <= at and at + block_size < last for at in tiled.tolist())
    assert len(tiled) == sum(
        max(0, min(end, last) - max(begin, first) - 1) // block_size
        for begin, end in zip(documents.begins.tolist(), np.cumsum(sizes).tolist(), strict=True)
    )


def test_windows_of_training_lie_in_one_document(apart: Corpus) -> None:
    begins = apart._documents["train"].begins
    seen = set()
    for iteration in range(300):
        offsets = apart.batch_offsets(1, iteration, 8, 40)
        assert (np.searchsorted(begins, offsets, "right") == np.searchsorted(begins, offsets + 40, "right")).all()
        seen |= set(offsets.tolist())
    assert len(seen) > 0.3 * apart._documents["train"].places(40, 0, len(apart.train)).count
    assert (apart.batch_offsets(1, 5, 8, 40) == apart.batch_offsets(1, 5, 8, 40)).all()
    for start, end in ((0.0, 0.5), (0.5, 1.0)):
        offsets = apart.batch_offsets(1, 0, 64, 40, start, end)
        assert offsets.min() >= start * len(apart.train) - 1
        assert offsets.max() + 40 < end * len(apart.train) + 1
    for context in (10, 40):
        offsets = even_windows(apart, "tuning", 0, 40, context).offsets
        assert (offsets == apart.window_offsets("tuning", 40)).all()
    windows = apart.windows("tuning", 40, 0)
    assert all("\n" not in apart.decode(window[:-1]) for window in windows)


@pytest.mark.parametrize("context", [8, 40, 300])
def test_targets_are_all_but_the_first_characters_and_see_their_own_document(apart: Corpus, context: int) -> None:
    tokens, begins = apart.slices["tuning"], apart._documents["tuning"].begins
    found = apart.targets("tuning", 0, context)
    rows = zip(found.offsets.tolist(), found.first.tolist(), found.end.tolist(), strict=True)
    targets = [(offset, offset + 1 + place) for offset, first, end in rows for place in range(first, end)]
    assert sorted(place for _, place in targets) == sorted({*range(len(tokens))} - {*begins.tolist()})
    assert all(
        np.searchsorted(begins, offset, "right") == np.searchsorted(begins, place, "right") for offset, place in targets
    )
    assert found.tokens == found.bytes == len(targets)
    some = [apart.targets("tuning", 256, length) for length in (8, 40, 300)]
    assert len({(each.tokens, each.bytes) for each in some}) == 1, "the same for every context"


def test_a_loss_is_that_of_each_document_by_itself(
    apart: Corpus, small: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a hand-written loop over documents, which are all shorter than the context."""
    monkeypatch.setattr(apart, "check_context", lambda block_size: None)
    config = small(dataset=str(apart.folder), block_size=160, eval_iters=0, n_layer=1)
    trainer = Trainer(config, apart, torch.float64)
    member = trainer.add(config)
    member.iteration = config.train.max_iters
    read = trainer.reading(member)
    total = count = 0.0
    tokens = apart.slices["tuning"].astype(np.int64)
    for document in np.split(tokens, apart._documents["tuning"].begins[1:]):
        with torch.no_grad():
            told = torch.log_softmax(read(torch.from_numpy(document[None, :-1]), None)[0].double(), -1)
        total -= told[torch.arange(len(document) - 1), torch.from_numpy(document[1:])].sum().item()
        count += len(document) - 1
    assert trainer.evaluate()[member] == pytest.approx(total / count, rel=1e-5)


def test_a_context_longer_than_every_document_is_refused(apart: Corpus) -> None:
    assert "no document of train" in refusal(apart.check_context, 250)
    assert "has as many tokens as a window, 251" in refusal(apart.batch_offsets, 1, 0, 4, 250)
    assert apart.share_in_windows(40) == 1
    assert 0 < apart.share_in_windows(85) < 1


@pytest.mark.parametrize("change", [lambda data: data[:-8], lambda data: data[:8] + data])
def test_boundaries_that_were_changed_are_refused(apart: Corpus, change: Callable[[bytes], bytes]) -> None:
    path = apart.folder / DOCUMENTS
    path.write_bytes(change(path.read_bytes()))
    assert "documents.bin: not what the manifest says" in refusal(load, apart.folder)
    path.unlink()
    assert "cannot be read" in refusal(load, apart.folder)


def test_prepared_tokens_are_used_as_they_are(apart: Corpus) -> None:
    folder = str(apart.folder)
    assert prepare(Text(dataset=folder, documents="apart")) == prepare(folder) == apart.folder
    joined = open_data(str(apart.folder.parents[1] / "stories.txt")).folder
    assert "documents = apart" in refusal(prepare, Text(dataset=str(joined), documents="apart"))
    assert "tokenizer = bpe" in refusal(prepare, Text(dataset=folder, tokenizer="bpe"))
    assert "column = text" in refusal(prepare, Text(dataset=folder, column="text"))


# --- the archive of WikiText


def test_articles_are_split_as_the_field_has_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def article(i: int) -> str:
        return f" = Title {i} = \n \n One {i} . \n = = Section = = \n Two {i} = 2 \n"

    archive = root / "wikitext.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for part, of in {"train": range(10), "valid": range(10, 16), "test": range(16, 20)}.items():
            file.writestr(f"wikitext-103-raw/wiki.{part}.raw", " \n" + "".join(map(article, of)))
    monkeypatch.setenv("TUNEMAX_WIKITEXT103", str(archive))
    corpus = open_data(Text(dataset="wikitext103", documents="apart"))
    counts: dict[Part, int] = {"train": 10, "tuning": 3, "confirmation": 3, "test": 4}
    assert corpus.documents == counts
    assert all(document.lstrip().startswith("= Title") for document in documents_of(corpus))
    assert "Title 13" in parts_of(corpus)["confirmation"]
    archive.write_bytes(archive.read_bytes()[:-30])
    assert "has changed since the first download" in refusal(open_data, "wikitext103")
    shutil.rmtree(root / "data")
    assert "no zip archive that can be read" in refusal(open_data, "wikitext103")
