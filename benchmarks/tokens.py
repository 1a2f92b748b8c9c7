"""How fast text becomes tokens, and in how much memory: `tunemax prepare` on a text of a given size.

    python benchmarks/tokens.py --size 100 byte char bpe

The text is words of the standard library in a random order, each as often as there. Each
tokenizer has a process of its own; its memory is the most that was resident at any time, torch and numpy included.
`make text-gigabyte` does it with a gigabyte, and refuses more than a gigabyte of memory.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tunemax.gpt.data import load, open_data

COMMAND = "import sys; from tunemax.search.cli import main; sys.exit(main(sys.argv[1:]))"


def write_text(path: Path, size: int) -> None:
    """So many bytes, or a line more."""
    corpus = open_data("python_stdlib")
    words = np.array(re.findall(r"\s*\S+", corpus.decode(corpus.train)), dtype=object)
    draw, written = np.random.Generator(np.random.Philox(key=1)), 0
    with path.open("wb") as file:
        while written < size:
            chunk = "".join(words[draw.integers(0, len(words), 100_000)]).encode()[: size - written]
            written += file.write(chunk)


@dataclass(frozen=True)
class Prepared:
    """What it took. seconds: of a clock; memory: bytes."""

    tokenizer: str
    size: int
    tokens: int
    seconds: float
    memory: int

    def row(self) -> str:
        per_token, speed = self.size / self.tokens, self.tokens / self.seconds
        cells = (self.tokenizer, f"{self.size / 1e6:,.0f}", f"{self.tokens / 1e6:,.1f}", f"{per_token:.2f}")
        measured = (f"{self.seconds:,.0f}", f"{self.size / 1e6 / self.seconds:,.1f}", f"{speed:,.0f}")
        return f"| {' | '.join((*cells, *measured, f'{self.memory / 1e6:,.0f}'))} |"


HEAD = """| tokenizer | text, MB | tokens, M | bytes a token | seconds | MB/s | tokens/s | memory, MB |
|---|---:|---:|---:|---:|---:|---:|---:|"""


def prepared(tokenizer: str, path: Path, vocab_size: int, root: Path) -> Prepared:
    """Prepare a text in a process of its own."""
    words = ["prepare", str(path), "--tokenizer", tokenizer]
    words += ["--vocab_size", str(vocab_size)] if tokenizer == "bpe" else []
    start = time.perf_counter()
    environment = {**os.environ, "TUNEMAX_DATA": str(root)}
    command = [sys.executable, "-c", COMMAND, *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    assert process.stdout
    folder = process.stdout.read().strip()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(process.returncode)
    seconds = time.perf_counter() - start
    tokens = sum(load(Path(folder)).manifest.token_counts.values())
    unit = 1 if sys.platform == "darwin" else 1024
    return Prepared(tokenizer, path.stat().st_size, tokens, seconds, usage.ru_maxrss * unit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizers", nargs="*", default=["byte", "char", "bpe"])
    parser.add_argument("--size", type=float, default=20, metavar="MB", help="of the text (default: 20)")
    parser.add_argument("--vocab_size", type=int, default=4096, help="of bpe (default: 4096)")
    parser.add_argument("--within", type=float, metavar="MB", help="end with 1 if one of them needs more memory")
    parser.add_argument("--quick", action="store_true", help="a megabyte and 300 tokens: to see that it runs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.size, arguments.vocab_size = 1, 300
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text.txt")
        write_text(path, round(arguments.size * 1e6))
        print(HEAD, flush=True)
        found = []
        for tokenizer in arguments.tokenizers:
            found.append(prepared(tokenizer, path, arguments.vocab_size, Path(folder, tokenizer)))
            print(found[-1].row(), flush=True)
    if arguments.within and any(each.memory > arguments.within * 1e6 for each in found):
        sys.exit(f"more than {arguments.within:,.0f} MB of memory")


if __name__ == "__main__":
    main()
