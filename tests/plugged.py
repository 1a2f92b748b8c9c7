"""Plug-ins for tests: a file each, and a process that forgets what it has loaded."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from tunemax.gpt import plugins

HEAD = '''"""A plug-in."""

from tunemax.gpt.fields import Range, setting
from tunemax.gpt.softmax.normalised import Normalised
from tunemax.gpt.softmax.numerics import masked_softmax, number, wide
'''
HOT = '''

class Hot(Normalised, name="hot", aliases=("heated",)):
    """e^(heat x) / Σ."""

    source = "here"
    heat: float = setting(2.0, "what logits are multiplied with", gt=0, le=100, search=Range(0.5, 4.0))

    def weights(self, logits, mask):
        x = wide(logits)
        return masked_softmax(x * number(self.heat, x), mask).to(logits.dtype)
'''


def written(folder: Path, text: str = HEAD + HOT, name: str = "hot_variant") -> Path:
    path = folder / f"{name}.py"
    path.write_text(text)
    return path


@contextmanager
def forgetting() -> Iterator[None]:
    """What is loaded inside is unloaded behind."""
    with patch.dict(os.environ):
        before = plugins.loaded()
        try:
            yield
        finally:
            for name in plugins.loaded().keys() - before.keys():
                plugins.unload(name)
