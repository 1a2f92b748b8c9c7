"""Tokenizers: what every one of them keeps, and what bpe learns, by an oracle that only counts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import regex
import tiktoken.registry
from hypothesis import given, settings
from hypothesis import strategies as st

from tunemax.gpt.data import load, prepare
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.text_config import Text
from tunemax.gpt.tokenizers import Tokenizer, bpe, units
from tunemax.gpt.tokenizers.bpe import Bpe, learned_from

WORDS = "the cat sat on the mat, and that hat: naïve → 𝄞 don't\n\n  x = {'a': 1}\r\n\tthen\n"
TEXT = (WORDS * 40).encode()
PATTERN = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
"""GPT-2's, as its paper's code has it."""

SAME = "a418f3485a0b4c60262c847c4d538b64d3224d2014ac263b78b2b2429154ba26"
"""What bpe makes of `TEXT`, on every machine."""

TINY = """
def tiny():
    ranks = {bytes([byte]): byte for byte in range(256)}
    for token in (b"th", b" t", b" th", b"the", b" the", b"\\n\\n"):
        ranks[token] = len(ranks)
    return {"name": "tiny", "pat_str": PATTERN, "mergeable_ranks": ranks, "special_tokens": {"<|endoftext|>": 264}}

def wide():
    ranks = {bytes([byte]): byte for byte in range(256)}
    return {"name": "wide", "pat_str": PATTERN, "mergeable_ranks": ranks, "special_tokens": {"<|end|>": 70000}}

ENCODING_CONSTRUCTORS = {"tiny": tiny, "wide": wide}
"""


@pytest.fixture(autouse=True, scope="module")
def encodings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A vocabulary that tiktoken has without a network: of a plug-in of its own kind."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "tiktoken_ext").mkdir()
    (folder / "tiktoken_ext" / "tiny.py").write_text(f"PATTERN = {PATTERN.pattern!r}\n{TINY}")
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(folder))
    patch.setattr(tiktoken.registry, "ENCODING_CONSTRUCTORS", None)
    yield
    patch.undo()


def made(kind: str, text: bytes = TEXT, held_out: bytes = b"", **fields: object) -> Tokenizer:
    asked = Text.model_validate({"vocab_size": 300, "encoding": "tiny"} | fields)
    return Tokenizer.find(kind).made(asked, lambda: [text], lambda: [text, held_out])


@pytest.fixture(params=sorted(Tokenizer.registry))
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return made(request.param)


# --- the contract


written = st.text(st.sampled_from("the ca\n→𝄞ï'")) | st.lists(st.sampled_from(WORDS.split(" "))).map(" ".join)


@pytest.mark.parametrize("kind", sorted(Tokenizer.registry))
def test_text_goes_round_and_its_bytes_are_counted_exactly(kind: str) -> None:
    codec = made(kind)

    @settings(max_examples=40)
    @given(written)
    def goes_round(text: str) -> None:
        data = text.encode()
        ids = codec.tokens(data)
        assert ids.dtype == np.uint16
        assert codec.bytes_in(ids) == data
        assert codec.decode(ids) == text
        assert codec.bytes_of(ids).sum() == len(data)
        assert (codec.encode(text) == ids).all()
        decode = codec.decoder()
        pieces = [decode([token], place == len(ids) - 1) for place, token in enumerate(ids.tolist())]
        assert "".join(pieces) == text
        starts, offsets = codec.characters(ids)
        assert all(codec.bytes_in(ids[start:]).decode() is not None for start in starts.tolist())
        assert offsets.tolist() == [len(codec.bytes_in(ids[:start])) for start in starts.tolist()]

    goes_round()


def test_it_is_made_again_of_what_is_kept_of_it(tokenizer: Tokenizer) -> None:
    again = type(tokenizer).of(tokenizer.vocabulary)
    assert again == tokenizer
    assert again.pieces == tokenizer.pieces
    assert len(again.pieces) == again.vocab_size == tokenizer.vocab_size
    assert (again.tokens(TEXT) == tokenizer.tokens(TEXT)).all()
    assert hash(again) == hash(tokenizer)


def test_pieces_are_tokenized_one_by_one(tokenizer: Tokenizer) -> None:
    pieces = [b"the ca", b"t sat", b"\n\n", b" the mat"]
    batches = list(tokenizer.batches(iter(pieces)))
    assert [size for _, size in batches] == [len(piece) for piece in pieces]
    for piece, (ids, _) in zip(pieces, batches, strict=True):
        assert (ids == tokenizer.tokens(piece)).all()


def test_ids_that_do_not_exist_are_refused(tokenizer: Tokenizer) -> None:
    for token in (-1, tokenizer.vocab_size):
        with pytest.raises(TunemaxError, match=f"token id {token}: expected 0 to {tokenizer.vocab_size - 1}"):
            tokenizer.decode([0, token])


def test_what_is_no_vocabulary_is_refused(tokenizer: Tokenizer) -> None:
    for vocabulary in {None, "x y\nz"} - {tokenizer.vocabulary}:
        if (type(tokenizer).kind, vocabulary) != ("char", "x y\nz"):
            with pytest.raises(TunemaxError):
                type(tokenizer).of(vocabulary)


def test_text_that_is_none_is_refused_by_all_that_read_characters(tokenizer: Tokenizer) -> None:
    if not tokenizer.reads_text:
        assert tokenizer.bytes_in(tokenizer.tokens(b"a\xff")) == b"a\xff"
        return
    with pytest.raises(TunemaxError, match="byte 2 is not UTF-8"):
        tokenizer.tokens(b"a\xff")


def test_unknown_tokenizers_are_refused() -> None:
    with pytest.raises(TunemaxError, match="tokenizer = bype: no such tokenizer; did you mean `bpe`"):
        Tokenizer.find("bype")
    with pytest.raises(TunemaxError, match="encoding = tinny: tiktoken has none of this name; did you mean `tiny`"):
        made("tiktoken", encoding="tinny")
    with pytest.raises(TunemaxError, match="encoding = wide: has 70,001 tokens"):
        made("tiktoken", encoding="wide")


def test_other_tokens_under_a_name_are_noticed() -> None:
    kept = str(made("tiktoken").vocabulary)
    with pytest.raises(TunemaxError, match="encoding = tiny: tiktoken has other tokens here"):
        Tokenizer.find("tiktoken").of(kept[:-1] + ("0" if kept[-1] != "0" else "1"))


def test_without_its_files_tiktoken_says_how_to_get_them(tmp_path: Path) -> None:
    script = "from tunemax.gpt.tokenizers import Tokenizer; Tokenizer.find('tiktoken').of('gpt2 0')"
    nowhere = {"TIKTOKEN_CACHE_DIR": str(tmp_path), "HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": ""}
    result = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **nowhere}, capture_output=True, text=True, check=False
    )
    last = result.stderr.strip().splitlines()[-1]
    assert "encoding = gpt2: tiktoken's files of it are not here" in last
    assert "TIKTOKEN_CACHE_DIR" in last


# --- what bpe learns


def plainly(data: bytes, joins: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """Tokens of a text by the plain rule: in each word the earliest join that there is, until there is none."""
    tokens = []
    for word in PATTERN.findall(data.decode()):
        parts = [bytes([byte]) for byte in word.encode()]
        while there := set(pairwise(parts)) & set(joins):
            first = min(there, key=joins.index)
            place = next(i for i, pair in enumerate(pairwise(parts)) if pair == first)
            parts[place : place + 2] = [first[0] + first[1]]
        tokens += parts
    return tokens


def joins_of(codec: Bpe) -> list[tuple[bytes, bytes]]:
    known = {character: byte for byte, character in bpe.alphabet().items()}
    pairs = [line.split(" ") for line in str(codec.vocabulary).split("\n")]
    return [(bytes(map(known.__getitem__, one)), bytes(map(known.__getitem__, other))) for one, other in pairs]


def test_each_join_is_of_the_pair_that_stands_there_most_often() -> None:
    codec = made("bpe")
    assert isinstance(codec, Bpe)
    joins = joins_of(codec)
    assert len(joins) == 300 - 256
    words = Counter(PATTERN.findall(TEXT.decode()))
    for number, join in enumerate(joins):
        counts: Counter[tuple[bytes, bytes]] = Counter()
        for word, times in words.items():
            for pair in pairwise(plainly(word.encode(), joins[:number])):
                counts[pair] += times
        assert counts[join] == max(counts.values())


def test_it_joins_as_the_plain_rule_does() -> None:
    codec = made("bpe")
    assert isinstance(codec, Bpe)
    joins = joins_of(codec)

    @settings(max_examples=40)
    @given(written)
    def same(text: str) -> None:
        assert [codec.pieces[token] for token in codec.encode(text).tolist()] == plainly(text.encode(), joins)

    same()


def test_it_learns_from_the_training_text_alone() -> None:
    assert made("bpe") == made("bpe", held_out=b"validation validation validation " * 99)
    assert made("bpe") != made("bpe", TEXT + b"validation validation validation " * 99)


def test_prepared_text_has_a_vocabulary_of_its_training_part(tmp_path: Path) -> None:
    found = []
    for number, end in enumerate((b"validation ", b"confirming ")):
        path = tmp_path / f"{number}.txt"
        path.write_bytes(TEXT * 6 + end * (len(TEXT) // len(end)))
        found.append(load(prepare(Text(dataset=str(path), tokenizer="bpe", vocab_size=300), tmp_path)).manifest)
    assert found[0].vocabulary == found[1].vocabulary
    assert found[0].fingerprint != found[1].fingerprint


def test_more_tokens_than_the_text_gives_are_refused() -> None:
    with pytest.raises(TunemaxError, match=r"vocab_size = 4000: this text gives \d+ tokens; take at most so many"):
        made("bpe", vocab_size=4000)


def test_a_long_text_is_learned_from_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{i:08} {'x' * 91}\n".encode() for i in range(10_000)]
    monkeypatch.setattr(units, "UNIT", 1000)
    monkeypatch.setattr(bpe, "LEARNED", 100_000)
    taken = list(learned_from(lambda: lines))
    assert 90_000 < sum(map(len, taken)) <= 100_000
    places = np.array([int(line[:8]) for line in taken])
    assert np.diff(places).max() <= 12, "none is far from the next"
    monkeypatch.setattr(bpe, "LEARNED", 10_000_000)
    assert "".join(learned_from(lambda: lines)).encode() == b"".join(lines)


@pytest.mark.parametrize("threads", ["1", "3"])
def test_it_is_the_same_in_every_process_and_with_any_number_of_threads(threads: str) -> None:
    script = (
        "import sys, hashlib; from tunemax.gpt.tokenizers import Tokenizer; from tunemax.gpt.text_config import Text\n"
        "data = sys.stdin.buffer.read()\n"
        "codec = Tokenizer.find('bpe').made(Text(vocab_size=300), lambda: [data] * 3, lambda: [data])\n"
        "print(hashlib.sha256(codec.vocabulary.encode() + codec.tokens(data).tobytes()).hexdigest())"
    )
    environment = {
        **os.environ,
        "RAYON_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "true",
        "PYTHONHASHSEED": threads,
    }
    found = subprocess.run(
        [sys.executable, "-c", script], input=TEXT, env=environment, capture_output=True, check=True
    ).stdout
    assert found.decode().strip() == SAME


# --- units


@settings(max_examples=40)
@given(st.lists(st.sampled_from([b"a" * 7, b"\n", "→".encode() * 5, "𝄞".encode(), b"bcd\nef"]), max_size=60), st.data())
def test_units_follow_from_the_text_and_not_from_how_it_was_read(parts: list[bytes], data: st.DataObject) -> None:
    text = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    chunks = [text[a:b] for a, b in pairwise([0, *cuts, len(text)])]
    patch = pytest.MonkeyPatch()
    with patch.context() as context:
        context.setattr(units, "UNIT", 16)
        found = list(units.units(chunks))
        assert found == list(units.units([text]))
        assert b"".join(found) == text
        assert all(len(unit) <= 32 for unit in found)
        assert [list(units.units([unit])) for unit in found] == [[unit] for unit in found]
    for unit in found:
        unit.decode()
