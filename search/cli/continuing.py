"""``tunemax train --from TRIAL --continue``: weights that train on, for a new horizon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tunemax.gpt.errors import TunemaxError

if TYPE_CHECKING:
    from tunemax.gpt.config import Config
    from tunemax.gpt.data import Corpus
    from tunemax.gpt.record import Start
    from tunemax.search.results.trained import Trained

FREE = ("dropout",)
"""Fields of a model that its weights do not depend on."""


def continued(trained: Trained, given: Mapping[str, Any]) -> tuple[Start, Config]:
    """What a training begins with that goes on from another one, and its configuration, with the fields given here.

    The model stays as it is. The text may be another one of the same tokens; where the seed is not given it is the next
    one, or the same batches would come again. Raises TunemaxError for weights that are not there, and for a field that
    would make it another model.
    """
    from tunemax.gpt.config import PLACES, all_specs
    from tunemax.gpt.record import Start
    from tunemax.gpt.run import run_folder

    snapshot, corpus = trained.snapshot()
    specs = all_specs()
    moved = {name: value for name, value in snapshot.values.items() if name in specs and specs[name].group == "model"}
    before = snapshot.config.replace({**dict.fromkeys(PLACES, ""), **moved})
    config = before.replace({"seed": before.train.seed + 1, **given})
    flat = before.flat()
    for name, value in config.flat().items():
        if specs[name].group == "model" and name not in FREE and flat.get(name) != value:
            stays = "cannot change where weights go on; leave out --continue to train anew"
            raise TunemaxError(f"{name} = {value}: it was {flat.get(name, 'another variant')}, and {stays}")
    _check_tokens(config, before, corpus)
    if not config.log.out_dir:
        config = config.replace({"out_dir": f"{run_folder(config)}-continued"})
    return Start(f"{trained.name} at iteration {snapshot.iteration}", snapshot), config


def said(start: Start, config: Config) -> str:
    """What goes on, and what begins anew."""
    from tunemax.gpt.schedule import warmup_end

    train = config.train
    rate = f"rises again over {warmup_end(train):,} iterations to" if warmup_end(train) else "begins at"
    then = "stays there" if train.schedule == "constant" else f"falls again ({train.schedule})"
    return (
        f"goes on from the weights of {start.name}, for {train.max_iters:,} iterations. The optimizer's state is not "
        f"kept and begins anew; the learning rate {rate} {train.learning_rate:.3g} and {then}; batches are those of "
        f"seed {train.seed}"
    )


def _check_tokens(config: Config, before: Config, corpus: Corpus) -> None:
    from tunemax.gpt.data import open_data

    if config.train.text == before.train.text:
        return
    if open_data(config.train).manifest.codec != corpus.manifest.codec:
        other = f"its tokens are not those of {before.train.dataset}, which the weights know"
        raise TunemaxError(f"dataset = {config.train.dataset}: {other}; take a text of the same tokenizer")
