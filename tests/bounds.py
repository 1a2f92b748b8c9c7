"""Installs tunemax with every dependency at its lower bound into an environment of its own, and tries what it does.

    make bounds                       # some minutes; the environment is .venv-bounds
    python tests/bounds.py torch      # all but torch, which stays at its pin: its old builds bring gigabytes along

What is tried: a study with its confirmation, leaderboard, report and figures; a compiled training that is sampled from;
an agent with stable-baselines3; the dashboard with TensorBoard.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venv-bounds"
PYTHON = FOLDER / "bin" / "python"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STUDY = """\
question: Does all of it work with the oldest packages?
data: python_stdlib
base: {n_layer: 1, n_head: 2, n_embd: 16, block_size: 16, batch_size: 4, eval_interval: 20, eval_tokens: 1024}
per: softmax_variant
compare: [softmax, constantmax, polymax]
space: {learning_rate: default}
sampler: SAMPLER
pruner: median
budget: {trials: 6, horizon: 60}
confirm: {seeds: 8}
"""
SIZES = ["--n_layer=1", "--n_head=2", "--n_embd=16", "--block_size=16", "--batch_size=4", "--max_iters=40"]
SCENE = [
    *("--env", "LearningRate-v1", "--horizon", "24", "--frame-skip", "8", "--set", "n_layer=1"),
    *("--set", "n_embd=16", "--set", "block_size=16", "--set", "batch_size=4"),
]
FRAMES = "from tunemax.search import *; f = figures('tpe'); print(len(trials('tpe')), len(curves('tpe')), *f)"
ENVIRONMENT = "import gymnasium, tunemax.envs; e = gymnasium.make('tunemax/LearningRate-v1'); print(e.reset(seed=1)[0])"
SERVED = """
import subprocess, sys
command = [sys.executable, "-m", "tunemax", "dashboard", "--port", "0", "--tensorboard-port", "0"]
served = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
lines = []
while not any("stops" in line for line in lines):
    lines.append(served.stdout.readline())
    assert lines[-1], lines
served.terminate()
print(*lines, served.wait())
"""


def lower_bounds(kept: list[str]) -> list[str]:
    """Each dependency of tunemax and of its extra for notebooks at the lowest version that it is said to work with."""
    requirements = [
        Requirement(text) for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["notebook"]
    ]
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    bounds = {}
    for requirement in requirements:
        bounds[requirement.name] = next(part.version for part in requirement.specifier if part.operator == ">=")
    return [f"{name}=={pins[name] if name in kept else bound}" for name, bound in bounds.items()]


def run(*words: str | Path) -> None:
    """Run a command in the folder where all of it is tried; its faults are this script's."""
    print("$", *words, flush=True)
    place = FOLDER / "tried"
    place.mkdir(exist_ok=True)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TUNEMAX_"))}
    subprocess.run(words, cwd=place, env={**own, "OMP_NUM_THREADS": "1"}, check=True)


def main() -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", FOLDER], check=True)
    pip = (PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    run(*pip, "setuptools>=77", "wheel")
    run(*pip, *lower_bounds(sys.argv[1:]))
    run(*pip, "--no-deps", "--no-build-isolation", ROOT)
    for sampler in ("tpe", "gp", "cmaes"):
        (FOLDER / "tried" / f"{sampler}.yaml").write_text(STUDY.replace("SAMPLER", sampler))
        run(PYTHON, "-m", "tunemax", "study", "run", f"{sampler}.yaml", "--workers", "2")
    run(PYTHON, "-m", "tunemax", "report", "tpe", "--out", "report")
    run(PYTHON, "-c", FRAMES)
    run(PYTHON, "-m", "tunemax", "train", *SIZES, "--compile", "--out_dir", "run")
    run(PYTHON, "-m", "tunemax", "train", "--resume", "run", "--max_iters", "60")
    run(PYTHON, "-c", ENVIRONMENT)
    run(
        PYTHON,
        "-m",
        "tunemax",
        "rl",
        "train",
        *SCENE,
        "--algo",
        "sac",
        "--envs",
        "4",
        "--steps",
        "48",
        "--out",
        "agent",
    )
    run(PYTHON, "-c", SERVED)
    print("every lower bound holds")


if __name__ == "__main__":
    main()
