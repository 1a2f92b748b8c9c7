"""An evaluation is of fixed targets: the same ones for every batch, context and tokenizer, in nats a token of them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.data.manifest import PARTS, Manifest, Part, fingerprint
from tunemax.gpt.data.targets import Targets, of_a_look, spans_of, targets_of
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.evaluation import LOOK, SPAN
from tunemax.gpt.run import Row
from tunemax.gpt.tokenizers import Tokenizer
from tunemax.gpt.tokenizers.byte import Byte
from tunemax.gpt.tokenizers.char import Char
from tunemax.gpt.trainer import Member, Trainer

Make = Callable[..., Config]

texts = st.text(st.sampled_from("ab cdé→𝄞\n"), min_size=400, max_size=3000)
contexts = st.integers(1, 300)
counts = st.integers(0, 4000)


def codec_of(text: str) -> Tokenizer:
    return Char("".join(sorted(set(text))))


def places(found: Targets) -> list[int]:
    """Where the targets that count stand among the tokens, in the order of the windows."""
    rows = zip(found.offsets.tolist(), found.first.tolist(), found.end.tolist(), strict=True)
    return [offset + 1 + place for offset, first, end in rows for place in range(first, end)]


def corpus_of(folder: Path, text: dict[Part, str], kind: str) -> Corpus:
    """A corpus of these parts, by bytes or by characters."""
    codec = Byte() if kind == "byte" else codec_of("".join(text.values()))
    parts = {part: codec.encode(text[part]) for part in PARTS}
    manifest = Manifest(
        format=1,
        name="text",
        source="text",
        tokenizer=codec.kind,
        vocabulary=codec.vocabulary,
        vocab_size=codec.vocab_size,
        token_counts={part: len(tokens) for part, tokens in parts.items()},
        byte_counts={part: len(text[part].encode()) for part in PARTS},
        sha256="",
        fingerprint=fingerprint(codec, {part: len(tokens) for part, tokens in parts.items()}, ""),
    )
    return Corpus(folder, manifest, np.concatenate([parts[part] for part in PARTS]))


@pytest.fixture
def foreign(tmp_path: Path) -> Callable[[str], Corpus]:
    """Training text of one byte a character, slices of up to four."""
    draw = random.Random(1)

    def written(characters: str, length: int) -> str:
        return "".join(draw.choice(characters) for _ in range(length))

    parts: dict[Part, str] = {"train": written("abcdefgh ", 4000)}
    parts |= {part: written("aé→𝄞 ", 1500) for part in PARTS[1:]}
    return lambda kind: corpus_of(tmp_path, parts, kind)


# --- the targets


@settings(max_examples=60)
@given(texts, contexts, counts, st.sampled_from(["byte", "char"]))
def test_every_target_counts_once_whatever_the_context(text: str, context: int, count: int, kind: str) -> None:
    codec = Byte() if kind == "byte" else codec_of(text)
    tokens = codec.encode(text)
    spans = spans_of(tokens, codec, count)
    found = targets_of(tokens, codec, spans, min(context, len(tokens) - 1))
    assert places(found) == [place for first, end in spans.tolist() for place in range(first, end)]
    assert found.tokens == len(places(found)) == found.counted(context).sum()
    assert found.bytes == codec.bytes_of(tokens)[places(found)].sum()
    assert found.offsets.min() >= 0
    assert found.offsets.max() + min(context, len(tokens) - 1) < len(tokens)
    if 0 < count < len(text.encode()) - SPAN:
        assert len(spans) == -(-count // SPAN)
    elif count == 0:
        assert places(found) == list(range(spans[0, 0], len(tokens)))


@settings(max_examples=60)
@given(texts, counts, st.booleans())
def test_other_tokens_cover_the_same_text(text: str, count: int, look: bool) -> None:
    covered = []
    for codec in (Byte(), codec_of(text)):
        tokens = codec.encode(text)
        spans = spans_of(tokens, codec, count)
        ends = np.append(0, codec.bytes_of(tokens).cumsum())
        covered.append(ends[of_a_look(spans) if look else spans].tolist())
    assert covered[0] == covered[1]


def test_bytes_that_are_no_text_are_targets_too() -> None:
    tokens = np.full(1000, 0x85, dtype=np.uint16)  # each can only follow another byte
    spans = spans_of(tokens, Byte(), 0)
    assert spans[0, 0] == 1
    assert spans[-1, 1] == 1000


def test_spans_are_spread_over_the_slice_and_a_look_takes_some_of_them(corpus: Corpus) -> None:
    whole, some = (places(corpus.targets("tuning", count, 16)) for count in (0, 1024))
    look = places(corpus.targets("tuning", 1024, 16, look=True))
    assert whole == list(range(1, len(corpus.slices["tuning"])))
    assert len(some) == 1024
    assert some[-1] - some[0] > 0.8 * len(whole)
    assert set(look) < set(some)
    assert len(look) == 1024 // LOOK
    assert len(places(corpus.targets("tuning", SPAN, 16, look=True))) == SPAN  # one span at least


def test_a_longer_context_sees_more_in_front_of_the_same_targets(corpus: Corpus) -> None:
    short, long = (corpus.targets("tuning", 1024, context) for context in (16, 200))
    assert places(short) == places(long)
    in_front = long.first + 1  # tokens that the first target of each span is told from
    assert (in_front[4:] == 200 - SPAN + 1).all()
    assert short.first.max() == 0


def test_a_slice_shorter_than_the_evaluation_is_evaluated_whole(corpus: Corpus) -> None:
    assert places(corpus.targets("tuning", 10**9, 16)) == places(corpus.targets("tuning", 0, 16))
    with pytest.raises(TunemaxError, match=r"^eval_tokens = 1000000000: tuning of words has \d+; take at most so many"):
        corpus.check_evaluation("tuning", 10**9)
    corpus.check_evaluation("tuning", len(corpus.slices["tuning"]))


# --- the loss


def at_its_horizon(config: Config, corpus: Corpus) -> tuple[Trainer, Member]:
    trainer = Trainer(config, corpus, torch.float64)
    member = trainer.add(config)
    trainer.step(config.train.max_iters)
    return trainer, member


def loss_by_hand(trainer: Trainer, member: Member, found: Targets) -> float:
    """−ln of the probability of each target that counts, from what the member expects there."""
    tokens, context = trainer.corpus.slices["tuning"].astype(np.int64), trainer.model.block_size
    losses = []
    for offset, first, end in zip(found.offsets.tolist(), found.first.tolist(), found.end.tolist(), strict=True):
        window = torch.from_numpy(tokens[offset : offset + context + 1])
        expected = trainer.logits(member, window[None, :-1])[0].double().log_softmax(-1)
        losses += [-float(expected[place, window[place + 1]]) for place in range(first, end)]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("context", [16, 24, 100])
def test_the_loss_is_the_mean_over_the_targets(context: int, small: Make, corpus: Corpus) -> None:
    config = small(max_iters=3, block_size=context, eval_tokens=640)
    trainer, member = at_its_horizon(config, corpus)
    found = corpus.targets("tuning", 640, context)
    assert trainer.evaluate()[member] == pytest.approx(loss_by_hand(trainer, member, found), abs=1e-6)
    look = corpus.targets("tuning", 640, context, look=True)
    assert trainer.look([member])[member] == pytest.approx(loss_by_hand(trainer, member, look), abs=1e-6)


def test_before_the_horizon_a_look_is_taken_and_at_it_everything(small: Make, corpus: Corpus) -> None:
    config = small(max_iters=4, eval_tokens=1024)
    trainer = Trainer(config, corpus)
    member = trainer.add(config)
    trainer.step(3)
    assert trainer.evaluate() == trainer.look([member])
    trainer.step(1)
    assert trainer.evaluate() != trainer.look([member])


def test_equal_weights_score_equal_whatever_the_batch(small: Make, corpus: Corpus) -> None:
    config = small(max_iters=2)
    trainer, member = at_its_horizon(config, corpus)
    weights = trainer.snapshot(member).tensors
    found = set()
    for batch in (1, 4, 8, 16, 32):
        other = config.replace({"batch_size": batch, "eval_tokens": 1024})
        home = Trainer(other, corpus, torch.float64)
        new = home.add(other)
        home.remove(new)
        moved = home.restore(type(trainer.snapshot(member))(other, other.active(), 2, weights))
        found.add(home.evaluate()[moved])
    assert len(found) == 1


def test_bits_a_byte_are_of_the_text_that_was_evaluated(foreign: Callable[[str], Corpus]) -> None:
    corpus = foreign("char")
    fields = {"n_layer": 1, "n_head": 1, "n_embd": 8, "block_size": 16, "batch_size": 2, "max_iters": 2}
    for tokens, iterations in ((512, 1), (512, 2), (0, 2)):
        config = Config.of({**fields, "eval_tokens": tokens})
        trainer = Trainer(config, corpus)
        member = trainer.add(config)
        trainer.step(iterations)
        found = corpus.targets("tuning", tokens, 16, look=iterations == 1)
        text = corpus.decode(corpus.slices["tuning"][places(found)])
        loss = trainer.evaluate()[member]
        bits = Row.of(trainer, member, loss).bits_per_byte
        assert bits == pytest.approx(loss * len(text) / math.log(2) / len(text.encode()), rel=1e-12)
        assert len(text.encode()) > 1.5 * len(text)  # unlike the text that is trained on


def test_tokens_of_two_kinds_have_equal_bits_a_byte_where_they_know_equally_much(
    foreign: Callable[[str], Corpus],
) -> None:
    """A model that guesses evenly among the characters that there are knows the same in bytes: here by arithmetic."""
    known = {kind: foreign(kind).targets("tuning", 1024, 16) for kind in ("byte", "char")}
    assert known["byte"].bytes == known["char"].bytes == known["byte"].tokens > 1.5 * known["char"].tokens


# --- configurations


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({}, 81920),
        ({"eval_iters": 4, "batch_size": 4, "block_size": 16}, 256),
        ({"eval_iters": "1", "batch_size": 2, "block_size": 8}, SPAN),  # whole spans
        ({"eval_iters": 0}, 0),
        ({"eval_iters": 7, "eval_tokens": 512}, 512),
    ],
)
def test_eval_iters_says_how_many_tokens(fields: dict[str, Any], tokens: int) -> None:
    config = Config.of(fields)
    assert config.train.eval_tokens == tokens
    assert Config.of(config.flat()) == config
    assert config.replace({"batch_size": 32}).train.eval_tokens == tokens
    assert config.replace({"eval_iters": 2, "batch_size": 8, "block_size": 64}).train.eval_tokens == 1024


def test_less_than_a_span_is_refused() -> None:
    with pytest.raises(TunemaxError, match=rf"eval_tokens = 63: less than one span of text; expected at least {SPAN}"):
        Config.of({"eval_tokens": 63})
