"""Teacher forcing against loops that are written by hand: what a model is told, and what it expects."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tunemax.gpt.attended import entropies, maps
from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus, open_data
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.forced import Forced, even_windows, forced
from tunemax.gpt.trainer import Member, Trainer

SMALL = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 24, "batch_size": 2, "device": "cpu", "max_iters": 9}
TOKENS = 320


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, data_folder: Path) -> Corpus:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("the rain in späin stays mainly in the plain, and the cat sat on the mat. " * 400)
    return open_data(str(path))


def trained(corpus: Corpus, steps: int = 6, **fields: object) -> tuple[Trainer, Member]:
    config = Config.of({**SMALL, **fields})
    trainer = Trainer(config, corpus)
    member = trainer.add(config)
    trainer.step(steps)
    return trainer, member


def naive(trainer: Trainer, member: Member, part: str, targets: object, k: int) -> tuple[float, float, float]:
    """Top-1 accuracy, top-k accuracy and loss of all targets, one after the other, each from the text in front of it
    alone: no batch, no sorting, no tensors."""
    tokens, T = trainer.corpus.slices[part], trainer.model.block_size
    first = among = 0
    losses = []
    for offset, begin, end in zip(targets.offsets, targets.first, targets.end, strict=True):  # type: ignore[attr-defined]
        for place in range(int(begin), int(end)):
            front = torch.tensor(tokens[offset : offset + place + 1].astype(int))[None]
            assert front.shape[1] <= T
            scores = [float(x) for x in trainer.logits(member, front)[0, -1]]
            truth = int(tokens[offset + place + 1])
            ahead = 0
            for token, score in enumerate(scores):
                if score > scores[truth] or (score == scores[truth] and token < truth):
                    ahead += 1
            first, among = first + (ahead == 0), among + (ahead < k)
            top = max(scores)
            losses.append(top + math.log(sum(math.exp(score - top) for score in scores)) - scores[truth])
    return first / len(losses), among / len(losses), sum(losses) / len(losses)


@pytest.mark.parametrize("variant", ["softmax", "constantmax"])
def test_accuracy_and_loss_are_those_of_a_loop_by_hand(corpus: Corpus, variant: str) -> None:
    trainer, member = trained(corpus, softmax_variant=variant)
    targets = corpus.targets("test", TOKENS, trainer.model.block_size)
    read = forced(trainer, member, "test", targets)
    first, among, loss = naive(trainer, member, "test", targets, 5)
    assert (read.accuracy(1), read.accuracy(5)) == (first, among)
    assert read.loss == pytest.approx(loss, abs=1e-5)
    assert 0 < first < among < 1
    assert read.accuracy(corpus.manifest.vocab_size) == 1.0
    assert read.tokens_per_s > 0


def test_every_target_counts_once_and_the_loss_is_that_of_an_evaluation(corpus: Corpus) -> None:
    trainer, member = trained(corpus, eval_tokens=TOKENS)
    member.iteration = member.config.train.max_iters
    read = forced(trainer, member, "test", corpus.targets("test", TOKENS, trainer.model.block_size))
    assert set(Counter(read.places.tolist()).values()) == {1}
    assert read.loss == pytest.approx(trainer.evaluate("test")[member], abs=1e-5)


def test_contexts_of_any_length_are_asked_the_same_tokens(corpus: Corpus) -> None:
    reads = []
    for block_size in (7, 24, 100):
        trainer, member = trained(corpus, 0, block_size=block_size)
        reads.append(forced(trainer, member, "test", corpus.targets("test", TOKENS, block_size)))
        assert reads[-1].seen.max() == block_size
    assert len({tuple(sorted(read.places.tolist())) for read in reads}) == 1


def test_windows_by_position_tell_all_contexts_the_same_text(corpus: Corpus) -> None:
    reads = []
    for block_size in (8, 24):
        trainer, member = trained(corpus, 0, block_size=block_size)
        windows = even_windows(corpus, "test", TOKENS, 24, block_size)
        assert windows.tokens == len(windows.offsets) * block_size
        reads.append(forced(trainer, member, "test", windows))
    near = [sorted(zip(read.places, read.seen, strict=True)) for read in reads]
    assert near[0] == [each for each in near[1] if each[1] <= 8]
    windows = even_windows(corpus, "test", TOKENS, 24, 24)
    assert Counter(reads[1].seen.tolist()) == dict.fromkeys(range(1, 25), len(windows.offsets))


def test_positions_are_told_apart_by_edges(corpus: Corpus) -> None:
    trainer, member = trained(corpus, 0)
    read = forced(trainer, member, "test", even_windows(corpus, "test", TOKENS, 24, 24))
    masks = read.by_position([1, 2, 3, 5, 9, 17, 33])
    assert sum(mask.astype(int) for mask in masks).tolist() == [1] * len(read.seen)
    assert [int(read.seen[mask].max()) for mask in masks] == [1, 2, 4, 8, 16, 24]


def read_of(confidences: list[float], right: list[bool]) -> Forced:
    ranks = np.array([0 if each else 1 for each in right])
    none = np.zeros(len(right), dtype=np.int64)
    return Forced(none, none, np.zeros(len(right)), ranks, none, np.array(confidences), 1.0)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0.01, 1.0), st.booleans()), min_size=1, max_size=60))
def test_the_calibration_error_is_that_of_its_definition(given_: list[tuple[float, bool]]) -> None:
    """Guo et al., eq. 3, bin by bin: ((m − 1)/M, m/M]."""
    M, n = 15, len(given_)
    expected = 0.0
    for m in range(1, M + 1):
        inside = [(c, r) for c, r in given_ if (m - 1) / M < c <= m / M]
        if inside:
            accuracy = sum(r for _, r in inside) / len(inside)
            expected += len(inside) / n * abs(accuracy - sum(c for c, _ in inside) / len(inside))
    read = read_of([c for c, _ in given_], [r for _, r in given_])
    assert read.calibration_error() == pytest.approx(expected, abs=1e-12)
    assert sum(each.count for each in read.bins()) == n


def test_who_is_always_right_and_sure_is_calibrated_and_who_is_sure_and_wrong_is_not() -> None:
    assert read_of([1.0] * 4, [True] * 4).calibration_error() == 0
    assert read_of([1.0] * 4, [False] * 4).calibration_error() == 1
    assert read_of([0.75] * 4, [True, True, True, False]).calibration_error() == 0


def test_what_has_diverged_is_told(corpus: Corpus) -> None:
    trainer, member = trained(corpus, 0)
    trainer._rows.theta.fill_(math.nan)
    with pytest.raises(TunemaxError, match="not finite: it has diverged; compare another one"):
        forced(trainer, member, "test", corpus.targets("test", TOKENS, 24))


@pytest.mark.parametrize("variant", ["softmax", "constantmax", "softpick"])
def test_entropy_is_that_of_the_weights_that_maps_show(corpus: Corpus, variant: str) -> None:
    trainer, member = trained(corpus, softmax_variant=variant)
    windows = corpus.windows("test", 16, 3)
    shown = torch.stack([maps(trainer, member, window) for window in windows])  # (n, L, H, T, T)
    assert shown.shape == (3, 2, 2, 16, 16)
    assert (shown.triu(1) == 0).all()
    own = torch.zeros(2, 2)
    for layer in range(2):
        for head in range(2):
            found = []
            for row in shown[:, layer, head].reshape(-1, 16):
                sizes = [abs(float(x)) for x in row]
                if total := sum(sizes):
                    found.append(-sum(x / total * math.log(x / total) for x in sizes if x))
            own[layer, head] = sum(found) / len(found)
    assert torch.allclose(entropies(trainer, member, windows).float(), own, atol=1e-4)


def test_even_attention_has_the_entropy_of_as_many_keys(corpus: Corpus) -> None:
    trainer, member = trained(corpus, 0)
    for name, columns in trainer.layout.split(trainer._rows.theta).items():
        if ".attn.qkv" in name:
            columns.zero_()
    expected = sum(math.log(keys) for keys in range(1, 17)) / 16
    found = entropies(trainer, member, corpus.windows("test", 16, 2)).float()
    assert torch.allclose(found, torch.full((2, 2), expected), atol=1e-5)
