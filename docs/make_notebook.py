"""Writes notebook.ipynb: its cells below, and what they answer when they are run, which takes about a minute.

.venv/bin/python docs/make_notebook.py
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

TARGET = Path(__file__).with_name("notebook.ipynb")
CELLS = """
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


def notebook() -> NotebookNode:
    """The cells, not run yet: prose and code by turns."""
    sources = CELLS.strip().split("\n---\n")
    make = (new_markdown_cell, new_code_cell)
    cells = [make[place % 2](source, id=f"cell-{place}") for place, source in enumerate(sources)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def execute(made: NotebookNode, folder: Path) -> NotebookNode:
    """Run the cells in a folder, with the command line of this interpreter first on the path."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    client = NotebookClient(made, timeout=600, resources={"metadata": {"path": str(folder)}})
    return client.execute(env=os.environ)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = execute(notebook(), Path(folder))
    for cell in made.cells:
        cell.metadata.pop("execution", None)  # when it ran
    nbformat.write(made, TARGET)
    print(f"{TARGET}: {TARGET.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
