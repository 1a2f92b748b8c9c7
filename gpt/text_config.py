"""The fields of a text: where it comes from, and how it becomes tokens."""

from __future__ import annotations

from typing import Literal

import pydantic

from tunemax.gpt.fields import Fields, setting, shown
from tunemax.gpt.tokenizers import AUTO, MOST_TOKENS, Tokenizer


class Text(Fields):
    """What `tunemax prepare` makes tokens of, and how. Frozen, so it names a text wherever one is looked up."""

    dataset: str = setting(
        "python_stdlib",
        "python_stdlib, python_docstrings, shakespeare_char, tinystories, wikitext103, or the path or address of a text, "
        "a table or a folder",
    )
    tokenizer: str = setting(
        AUTO,
        "byte, char, bpe or tiktoken; auto: the dataset's own",
        neutral=AUTO,
    )
    vocab_size: int = setting(
        1024,
        "tokens of the vocabulary that bpe trains, the 256 bytes among them",
        ge=257,
        le=MOST_TOKENS,
        when={"tokenizer": ("bpe",)},
    )
    encoding: str = setting("gpt2", "which of tiktoken's vocabularies", when={"tokenizer": ("tiktoken",)})
    column: str = setting(
        "", "column of a table (jsonl, parquet) whose rows are the text; empty for files of plain text", neutral=""
    )
    documents: Literal["joined", "apart"] = setting(
        "joined",
        "whether windows may reach from one document (a file, a row of a table) into the next, or are kept apart",
        neutral="joined",
    )

    @pydantic.field_validator("tokenizer", mode="after")
    @classmethod
    def _known_tokenizer(cls, name: str) -> str:
        return name if name == AUTO else Tokenizer.find(shown(name)).kind

    @property
    def own_tokenizer(self) -> str:
        """What `auto` takes, unless the dataset is a folder of prepared tokens, which has its own."""
        return "char" if self.dataset == "shakespeare_char" else "byte"

    @property
    def reads_text(self) -> bool:
        """Whether tokens are of characters, so that there are none of what is no UTF-8."""
        return Tokenizer.find(self.own_tokenizer if self.tokenizer == AUTO else self.tokenizer).reads_text

    @property
    def text(self) -> Text:
        """These fields alone: equal for trainings on the same tokens."""
        return Text(**{name: getattr(self, name) for name in Text.model_fields})


def text_of(given: Text | str) -> Text:
    """That of a training's configuration, or a dataset as it is."""
    return Text(dataset=given) if isinstance(given, str) else given.text
