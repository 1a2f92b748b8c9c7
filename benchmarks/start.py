"""How long a user waits before something happens: for help, for a list, and for the first iteration of a training.

    python benchmarks/start.py              # five rounds, two minutes
    python benchmarks/start.py --quick      # one round

Every command is a new process, as from a shell, and is timed from its start to its end, or to the line that tells of
the first iteration (evaluated, so that it is a little later than the iteration itself). Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from report import environment, spread, table

TUNEMAX = ("-c", "import sys; from tunemax.search.cli import main; sys.exit(main())")
SMALL = {
    "n_layer": 2,
    "n_embd": 32,
    "n_head": 4,
    "block_size": 32,
    "batch_size": 8,
    "eval_interval": 1,
    "eval_iters": 1,
}
STUDY = {
    "question": "?",
    "base": SMALL,
    "space": {"learning_rate": "default"},
    "budget": {"trials": 2, "horizon": 3},
    "workers": 1,
}


@dataclass
class Wait:
    """A command, and what it waits for: a line with these words, or its end."""

    name: str
    goal: str
    words: tuple[str, ...]
    """After the interpreter."""
    line: str = ""
    fresh: bool = False
    """Whether nothing is prepared or known of the machine before."""
    seconds: list[float] = field(default_factory=list)

    def run(self, data: Path) -> None:
        with tempfile.TemporaryDirectory() as new:
            env = {**os.environ, "TUNEMAX_DATA": new if self.fresh else str(data)}
            start = time.perf_counter()
            with subprocess.Popen(
                [sys.executable, *self.words], cwd=new, env=env, stdout=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout
                seen = next((line for line in process.stdout if self.line and self.line in line), None)
                took = time.perf_counter() - start
                process.stdout.read()
        if process.returncode != 0 or (self.line and seen is None):
            raise RuntimeError(f"{self.name}: exit status {process.returncode}, and no line with {self.line!r}")
        self.seconds.append(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round")
    args = parser.parse_args()
    print(*environment(), sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file, storage, data = Path(folder, "small.yaml"), Path(folder, "small.db"), Path(folder, "data")
        file.write_text(yaml.safe_dump(STUDY))
        # What is listed; it prepares the data, too
        Wait("", "", (*TUNEMAX, "study", "run", str(file), f"--storage={storage}")).run(data)
        waits = list(_waits(storage))
        for _ in range(1 if args.quick else args.rounds):
            for wait in waits:
                wait.run(data)
    rows = [[wait.name, spread(wait.seconds, 2), wait.goal] for wait in waits]
    print(f"\n{table('Seconds from a command to what it is for', ['', 'seconds (min-max)', 'goal'], rows)}")


def _waits(storage: Path) -> Iterator[Wait]:
    fields = {**SMALL, "max_iters": 1, "out_dir": "run"}
    train = (*TUNEMAX, "train", *(f"--{name}={value}" for name, value in fields.items()))
    yield Wait("tunemax --help", "< 0.4", (*TUNEMAX, "--help"))
    yield Wait("tunemax study list", "< 1.2", (*TUNEMAX, "study", "list", f"--storage={storage}"))
    alone = f"import optuna; optuna.storages.RDBStorage('sqlite:///{storage}')"
    yield Wait("Optuna alone, opening that storage", "", ("-c", alone))
    yield Wait("tunemax train, to its first iteration", "< 6", train, "iteration 1 ")
    yield Wait(
        "the same on a new machine: prepares its text, measures its processor", "< 6", train, "iteration 1 ", fresh=True
    )


if __name__ == "__main__":
    main()
