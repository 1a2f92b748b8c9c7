"""Writes the notebooks: their cells below, and what they answer when they are run, which takes about a minute each.

.venv/bin/python docs/make_notebook.py          # all of them
.venv/bin/python docs/make_notebook.py compare  # those that are named
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

FOLDER = Path(__file__).parent
QUESTION = """
# A study in a notebook

`pip install 'tunemax[notebook]'` brings pandas and plotly. This question is small, so that
the notebook runs in a minute: three softmax variants, 300 iterations. What a study file can say: `study_files.md`.
---
%%writefile small.yaml
question: Which of three softmax variants trains best, in small?
data: python_stdlib
base: {n_layer: 2, n_head: 2, n_embd: 32, block_size: 32, batch_size: 8, eval_interval: 50, eval_tokens: 16384}
per: softmax_variant
compare: [softmax, sigsoftmax, constantmax]
space:
  learning_rate: default
budget: {trials: 4, horizon: 300}
sampler: random
pruner: none
confirm: {seeds: 8}
---
The command line works in a cell. It writes lines here, and a live picture on a terminal.
---
!tunemax study run small.yaml | tail -n 30
---
`run("small.yaml")` does the same from Python; what is finished already is not trained again.
---
from tunemax.search import answer, curves, figures, leaderboard, run, trials

question = run("small.yaml")
question.name, dict(question.states())
---
A row a candidate, in full precision: what tuning found, and what was confirmed on fresh seeds.
---
board = leaderboard("small")
board[["tuned_loss", "confirmed_1x_mean", "confirmed_1x_typical", "confirmed_1x_p_corrected", "confirmed_1x_verdict"]]
---
A row a trial, with its parameters.
---
trials("small").sort_values("loss")[["candidate", "trial", "state", "loss", "learning_rate", "tokens"]].head()
---
A row an evaluation of a trial: here the best loss of each candidate at each iteration.
---
curves("small").groupby(["candidate", "iteration"])["loss"].min().unstack(0)
---
Figures are those of the dashboard, as Plotly's objects: show them, or change them.
---
drawn = figures("small")
print(list(drawn))
drawn["confirmed-1x"].update_layout(title="On fresh seeds", width=700)
---
A confirmation is a question of its own, so its runs are trials, too.
---
trials("small.confirmed").pivot(index="seed", columns="candidate", values="loss")
---
Optuna's own objects open as ever.
---
from tunemax.search import open_study

open_study("small/softmax").trials_dataframe(attrs=("number", "value", "state", "params"))
---
What there is to say, in words:
---
print(answer("small"))
"""

VARIANT = """
# A softmax variant of your own

A plug-in is a Python file with a class that has a name. Here is one: softmax at a temperature that is a field,
so that a study can search it.
`tunemax plugin new softmax NAME` writes a file to begin with; all of it: `plugins.md`.
---
%%writefile coolmax.py
from tunemax.gpt.fields import Range, setting
from tunemax.gpt.softmax.normalised import Normalised
from tunemax.gpt.softmax.numerics import masked_softmax, number, wide

__version__ = "1"


class Coolmax(Normalised, name="coolmax"):
    \"\"\"e^(x / temperature) / Σ over the row.\"\"\"

    source = "this notebook"
    temperature: float = setting(1.0, "divides logits", gt=0, le=100, search=Range(0.25, 4.0, log=True))

    def weights(self, logits, mask):
        x = wide(logits)  # half precision is computed in fp32
        return masked_softmax(x / number(self.temperature, x), mask).to(logits.dtype)
---
It is known from now on, with its field. (`tunemax plugin check coolmax.py` tries the whole contract of a
variant, which takes minutes.)
---
!tunemax fields --plugin coolmax.py | grep coolmax.temperature
---
A study names the file, and compares the variant as any other.
---
%%writefile cool.yaml
question: Is coolmax, at a temperature that is searched, ahead of softmax?
plugins: [coolmax.py]
data: python_stdlib
base: {n_layer: 1, n_head: 2, n_embd: 32, block_size: 32, batch_size: 8, eval_interval: 50, eval_tokens: 16384}
per: softmax_variant
compare: [softmax, coolmax]
space:
  learning_rate: default
  coolmax.temperature: default
budget: {trials: 4, horizon: 200}
sampler: random
pruner: none
confirm: {seeds: 6}
---
Four trials each, and six fresh seeds of the two winners.
---
!tunemax study run cool.yaml | tail -n 18
---
What was found, trial by trial:
---
from tunemax.gpt import plugins
from tunemax.search import answer, trials

plugins.load("coolmax.py")
trials("cool").sort_values("loss")[["candidate", "loss", "learning_rate", "coolmax.temperature"]]
---
In words:
---
print(answer("cool"))
---
The study, its weights and its runs remember the plug-in by name, version and digest, and are refused to
other code: `plugins.md`. With it, the winner writes as any other.
---
!tunemax sample cool/coolmax "def " --length 60 --plugin coolmax.py
"""

COMPARE = """
# Two models side by side

Two trainings that differ in their softmax, and then everything that `tunemax compare` and `tunemax browse` tell
of them: `sandbox.md`.
---
shape = "--n_layer 2 --n_head 2 --n_embd 32 --block_size 32 --batch_size 8"
shape += " --max_iters 300 --eval_interval 25 --keep_every 100"
!tunemax train {shape} --softmax_variant softmax --out_dir runs/softmax | tail -n 1
!tunemax train {shape} --softmax_variant constantmax --out_dir runs/constantmax | tail -n 1
---
Both are told the same text, and asked for every token of it.
---
from tunemax.search import compare

found = compare("runs/softmax", "runs/constantmax", curves=["validation_loss", "gamma"])
found.table.T
---
In words, as on a terminal:
---
print(found)
---
Pictures are Plotly's objects: what was logged,
---
found.figures["curves-validation_loss"].update_layout(width=700)
---
and what is known by how many tokens stand in front.
---
found.figures["loss-by-position"].update_layout(width=700)
---
All numbers are there, token by token: here those that softmax knows and constantmax holds for unlikely.
---
import pandas

examples = found.found.disagreements[0].examples[0]
pandas.DataFrame([{"before": each.before, "token": each.token, "losses": each.losses} for each in examples])
---
All of it as a page that works offline, with its pictures beside it.
---
[path.name for path in found.write("seen")]
---
What goes on inside is another page: attention maps, learnables and texts at the iterations whose weights are
kept. Here is the map of one head.
---
!tunemax browse runs/constantmax --prompt "import os, sys"

from plotly.graph_objects import Figure

from tunemax.search.charts import inside, plotly
from tunemax.search.results.browsed import Glance, browsed

(seen,) = browsed(["runs/constantmax"], Glance(prompt="import os, sys"))
Figure(plotly.draw(next(inside.attention(seen.moments[-1])))).update_layout(width=500, height=500)
"""

STEER = """
# Steer a training while it runs

A training is a Gymnasium environment: an action moves controls, a reward is the fall of the validation loss.
`environments.md` has all of them, `rl.md` agents and
what they are worth.
---
import gymnasium

env = gymnasium.make("tunemax.envs:tunemax/Tiny-v1")
print(env.action_space)
observation, info = env.reset(seed=1)
---
One training, steered at random, and one that is left alone, on the same 8 instances:
---
import pandas


def steered(choose, seed):
    observation, info = env.reset(seed=seed)
    env.action_space.seed(seed)
    total, ended = 0.0, False
    while not ended:
        observation, reward, ended, _, info = env.step(choose(observation))
        total += reward
    return {"reward": total, "test_loss": info["test_loss"]}


rows = []
for seed in range(8):
    rows.append({"policy": "at random", "seed": seed, **steered(lambda _: env.action_space.sample(), seed)})
    rows.append({"policy": "left alone", "seed": seed, **steered(lambda _: 0 * env.action_space.sample(), seed)})
pandas.DataFrame(rows).pivot(index="seed", columns="policy", values="test_loss")
---
Agents that come with tunemax steer a run of your own.
---
!tunemax rl agents | head -n 20
---
One steers a short training here, and another training is left alone.
---
shape = "--n_layer 1 --n_head 2 --n_embd 32 --block_size 32 --batch_size 8 --max_iters 300 --eval_interval 25"
!tunemax rl steer mixed_widths {shape} --out_dir runs/steered | tail -n 1
!tunemax train {shape} --out_dir runs/alone | tail -n 1
---
What it did, and what came of it. One run each says little; `tunemax rl evaluate` says what an agent is worth.
---
from tunemax.search import compare

curves = ["controls/learning_rate", "train/learning_rate", "validation_loss"]
found = compare("runs/alone", "runs/steered", curves=curves)
found.table[["loss", "bits_a_byte", "top_1", "calibration_error"]]
---
The learning rate, as the agent has led it:
---
found.figures["curves-train-learning_rate"].update_layout(width=700)
---
And the loss meanwhile:
---
found.figures["curves-validation_loss"].update_layout(width=700)
"""

NOTEBOOKS = {"notebook": QUESTION, "variant": VARIANT, "compare": COMPARE, "steer": STEER}
"""By topic: what is asked first, a variant of one's own, two models side by side, steering."""


def target(name: str) -> Path:
    return FOLDER / ("notebook.ipynb" if name == "notebook" else f"notebook_{name}.ipynb")


def notebook(name: str = "notebook") -> NotebookNode:
    """The cells of a topic, not run yet: prose and code by turns."""
    sources = NOTEBOOKS[name].strip().split("\n---\n")
    make = (new_markdown_cell, new_code_cell)
    cells = [make[place % 2](source, id=f"cell-{place}") for place, source in enumerate(sources)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def execute(made: NotebookNode, folder: Path) -> NotebookNode:
    """Run the cells in a folder, with the command line of this interpreter first on the path."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    client = NotebookClient(made, timeout=600, coalesce_streams=True, resources={"metadata": {"path": str(folder)}})
    return client.execute(env=os.environ)


def main() -> None:
    for name in sys.argv[1:] or NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            made = execute(notebook(name), Path(folder))
        for cell in made.cells:
            cell.metadata.pop("execution", None)  # when it ran
        nbformat.write(made, target(name))
        print(f"{target(name)}: {target(name).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
