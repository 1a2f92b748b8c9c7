"""Compiled training: the same losses to rounding, and a clear line where there is no compiler."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from gpt.compilation import compiled_losses
from gpt.config import Config
from gpt.data import Corpus
from gpt.model import losses
from gpt.trainer import Trainer


@pytest.fixture(autouse=True)
def forget_the_compiler() -> Iterator[None]:
    compiled_losses.cache_clear()
    yield
    compiled_losses.cache_clear()


def test_compiled_members_train_as_eager_ones_do(small: Callable[..., Config], corpus: Corpus) -> None:
    """float32 sums are taken in another order: 1e-4 nats after ten iterations at an ordinary learning rate."""
    trained = []
    for compiled in (False, True):
        configs = [
            small(n_layer=1, softmax_variant=variant, dropout=dropout, compile=compiled)
            for variant, dropout in (("softmax", 0.0), ("constantmax", 0.1))
        ]
        trainer = Trainer(configs[0], corpus)
        members = [trainer.add(config) for config in configs]
        trainer.step(10)
        evaluated = trainer.evaluate()
        trained.append([evaluated[member] for member in members])
    assert trained[1] == pytest.approx(trained[0], abs=1e-4)


def test_without_a_compiler_it_says_so_and_trains_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert compiled_losses() is losses
    assert compiled_losses() is losses
    assert capsys.readouterr().err == "compile: no C++ compiler (no-such-compiler) on this machine; going on without\n"
