"""Prepared tokens: batches that can be regenerated, fixed validation windows, and tokenizers that go round."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunemax.gpt.data import SLICES, Corpus, load, prepare
from tunemax.gpt.data import corpus as corpus_module
from tunemax.gpt.data.corpus import Ids
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.tokenizers.char import Char

TEXT = "".join(f"line {i}: the quick brown fox jumps over the lazy dog, naïvely\n" for i in range(400))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("small")
    (folder / "text.txt").write_text(TEXT)
    return load(prepare(str(folder / "text.txt"), folder / "data"))


def refusal(call: Callable[..., object], *args: Any) -> str:
    with pytest.raises(TunemaxError) as caught:
        call(*args)
    message = str(caught.value)
    assert "\n" not in message
    return message


def batch(corpus: Corpus, seed: int, iteration: int, batch_size: int, block_size: int) -> tuple[Ids, Ids]:
    """Inputs and targets of one iteration, each (batch_size, block_size)."""
    windows = corpus.at(corpus.batch_offsets(seed, iteration, batch_size, block_size), block_size)
    return windows[:, :-1], windows[:, 1:]


def test_targets_are_the_inputs_one_token_later(small: Corpus) -> None:
    inputs, targets = batch(small, 1, 5, 8, 32)
    offsets = small.batch_offsets(1, 5, 8, 32)
    assert inputs.dtype == targets.dtype == np.int64
    for row, offset in enumerate(offsets):
        assert (inputs[row] == small.train[offset : offset + 32]).all()
        assert (targets[row] == small.train[offset + 1 : offset + 33]).all()


@settings(max_examples=40)
@given(st.integers(0, 2**53), st.integers(0, 2000), st.integers(1, 9), st.integers(1, 200))
def test_any_iteration_can_be_regenerated_alone(
    small: Corpus, seed: int, iteration: int, batch_size: int, block_size: int
) -> None:
    in_order = [
        small.batch_offsets(seed, i, batch_size, block_size) for i in range(max(0, iteration - 3), iteration + 1)
    ]
    small.windows("tuning", 16, 4)
    corpus_module._drawn.cache_clear()
    for corpus in (small, load(small.folder)):
        alone = corpus.batch_offsets(seed, iteration, batch_size, block_size)
        assert (alone == in_order[-1]).all()
        assert alone.shape == (batch_size,)
        assert alone.min() >= 0
        assert alone.max() + block_size + 1 <= len(small.train)


def test_batches_are_the_same_in_every_release_and_process(small: Corpus) -> None:
    assert small.batch_offsets(1, 0, 4, 64).tolist() == [2719, 20647, 19682, 1302]
    assert small.batch_offsets(1, 300, 4, 64).tolist() == [20855, 7780, 9120, 5498]


def test_seeds_and_iterations_are_independent(small: Corpus) -> None:
    drawn = [
        small.batch_offsets(seed, iteration, 16, 64) for seed in (0, 1, 2, 2**40) for iteration in (0, 1, 255, 256, 512)
    ]
    assert len({tuple(offsets) for offsets in drawn}) == len(drawn)
    stream = [
        np.concatenate([small.batch_offsets(seed, i, 16, 64) for i in range(600)]).astype(float) for seed in (1, 2)
    ]
    assert abs(np.corrcoef(stream[0], stream[1])[0, 1]) < 0.05
    assert abs(np.corrcoef(stream[0][:-1], stream[0][1:])[0, 1]) < 0.05
    deciles = np.histogram(stream[0], bins=10, range=(0, len(small.train) - 64))[0]
    assert deciles.min() > 0.85 * deciles.mean(), "offsets cover the text evenly"


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**53), st.floats(0, 0.8), st.floats(0.1, 0.2))
def test_a_part_of_the_text_is_all_that_is_seen(small: Corpus, seed: int, start: float, share: float) -> None:
    offsets = np.concatenate([small.batch_offsets(seed, i, 16, 64, start, start + share) for i in range(40)])
    first, last = round(start * len(small.train)), round((start + share) * len(small.train))
    assert first <= offsets.min() < first + 0.1 * (last - first)
    assert last - 0.1 * (last - first) < offsets.max() + 65 <= last


def test_a_part_that_is_shorter_than_a_window_is_refused(small: Corpus) -> None:
    message = refusal(small.batch_offsets, 1, 0, 4, 64, 0.5, 0.501)
    assert message.startswith("data_start = 0.5, data_end = 0.501: this part of ")
    assert message.endswith(" a window needs 65; take a larger part or a smaller block_size")


def test_offsets_cannot_be_changed_by_who_got_them(small: Corpus) -> None:
    with pytest.raises(ValueError, match="read-only"):
        small.batch_offsets(1, 0, 4, 64)[0] = 0


def test_stacked_members_get_the_batches_they_would_get_alone(small: Corpus) -> None:
    offsets = np.stack([small.batch_offsets(seed, 9, 5, 16) for seed in (1, 2, 3)])
    stacked = small.at(offsets, 16)
    assert stacked.shape == (3, 5, 17)
    for row, seed in enumerate((1, 2, 3)):
        assert (stacked[row, :, :-1] == batch(small, seed, 9, 5, 16)[0]).all()


@settings(max_examples=60)
@given(st.sampled_from(SLICES), st.integers(1, 300), st.integers(0, 80))
def test_windows_are_fixed_evenly_spread_and_share_no_input(
    small: Corpus, part: str, block_size: int, count: int
) -> None:
    windows = small.windows(part, block_size, count)
    tokens = small.slices[part]
    whole = (len(tokens) - 1) // block_size
    assert windows.shape == (whole if count == 0 else min(count, whole), block_size + 1)
    assert (windows == load(small.folder).windows(part, block_size, count)).all()
    everything = small.windows(part, block_size, 0)
    assert (everything[:, :-1].reshape(-1) == tokens[: whole * block_size]).all()
    assert (everything[:, 1:].reshape(-1) == tokens[1 : whole * block_size + 1]).all()
    if 0 < count < whole:
        chosen = np.arange(count) * whole // count
        assert (windows == everything[chosen]).all()
        assert np.ptp(np.diff([*chosen, whole])) <= 1


def test_slices_are_disjoint_pieces_of_the_text(small: Corpus) -> None:
    pieces = [small.decode(tokens) for tokens in (small.train, *small.slices.values())]
    found = [
        set(re.findall(r"line (\d+): the quick brown fox jumps over the lazy dog, naïvely\n", piece))
        for piece in pieces
    ]
    assert sum(map(len, found)) == len(set.union(*found)) > 390


def test_batches_are_drawn_by_the_block_and_gathered_from_a_plain_array(small: Corpus) -> None:
    """Which is what makes them fast."""
    corpus_module._drawn.cache_clear()
    for iteration in range(1000):
        for seed in range(16):  # the members of a trainer
            batch(small, seed, iteration, 12, 64)
    assert corpus_module._drawn.cache_info().misses == 16 * 4, "256 iterations at once, each block only once"
    assert type(small.train) is np.ndarray, "indexing a memmap itself is slow"


def test_text_shorter_than_the_context(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("0123456789" * 40)  # train 340 tokens, slices 20
    corpus = load(prepare(str(path), tmp_path / "data"))
    assert "block_size = 340: train of short has 340 tokens" in refusal(corpus.batch_offsets, 1, 0, 4, 340)
    assert "block_size = 20: test of short has 20 tokens" in refusal(corpus.windows, "test", 20, 0)
    assert "tuning" in refusal(corpus.check_context, 20)
    corpus.check_context(19)
    assert corpus.windows("test", 19, 0).shape == (1, 20)
    inputs, targets = batch(corpus, 1, 0, 4, 339)
    assert inputs.shape == targets.shape == (4, 339)
    assert "did you mean `tuning`?" in refusal(corpus.windows, "tunin", 8, 0)
    assert "did you mean `confirmation`?" in refusal(corpus.bytes_per_token, "confirm")


# --- tokenizers


@given(st.text())
def test_bytes_go_round(small: Corpus, text: str) -> None:
    ids = small.encode(text)
    assert ids.dtype == np.uint16
    assert len(ids) == len(text.encode())
    assert small.decode(ids) == text


@settings(max_examples=30)
@given(vocabulary=st.sets(st.characters(exclude_categories=["Cs"]), min_size=1), data=st.data())
def test_characters_go_round(vocabulary: set[str], data: st.DataObject) -> None:
    tokenizer = Char("".join(sorted(vocabulary)))
    text = data.draw(st.text(st.sampled_from(sorted(vocabulary))))
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text
    strange = data.draw(st.characters(exclude_characters="".join(vocabulary), exclude_categories=["Cs"]))
    assert "not one of the" in refusal(tokenizer.encode, text + strange)


def test_ids_outside_the_vocabulary_are_refused(small: Corpus) -> None:
    assert "token id 256" in refusal(small.decode, [65, 256])
    assert "token id -1" in refusal(small.decode, [-1])
    assert small.decode([0xC3]) == "�", "half a character, as a model may write it"
