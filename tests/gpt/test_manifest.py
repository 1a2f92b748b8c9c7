"""A manifest is read as it was written, and refused when anything that its fingerprint covers was changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunemax.gpt.data.manifest import MANIFEST, PARTS, LeftOut, Manifest, fingerprint, read_manifest
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.tokenizers.byte import Byte
from tunemax.gpt.tokenizers.char import Char

counts = st.fixed_dictionaries({part: st.integers(1, 2**40) for part in PARTS})
small = st.integers(0, 99)
lost = st.builds(LeftOut, files=small, passages=small, bytes=small, of_bytes=st.integers(1, 999))


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    letters = draw(st.none() | st.sets(st.characters(exclude_categories=["Cs"]), min_size=1))
    vocabulary = None if letters is None else "".join(sorted(letters))
    codec = Byte() if vocabulary is None else Char(vocabulary)
    tokens, sha256 = draw(counts), draw(st.text("0123456789abcdef", min_size=64, max_size=64))
    return Manifest(
        format=1,
        name=draw(st.text()),
        source=draw(st.text()),
        tokenizer=codec.kind,
        vocabulary=vocabulary,
        vocab_size=codec.vocab_size,
        token_counts=tokens,
        byte_counts=draw(counts),
        sha256=sha256,
        fingerprint=fingerprint(codec, tokens, sha256),
        version=draw(st.integers(1, 3)),
        left_out=draw(st.none() | lost),
    )


@given(manifests(), st.sampled_from(PARTS))
def test_a_manifest_goes_round_and_a_changed_one_is_refused(
    tmp_path_factory: pytest.TempPathFactory, manifest: Manifest, part: str
) -> None:
    folder: Path = tmp_path_factory.getbasetemp() / "manifest"
    folder.mkdir(exist_ok=True)
    (folder / MANIFEST).write_bytes(manifest.to_json())
    assert read_manifest(folder) == manifest
    plain = json.loads(manifest.to_json())
    plain["token_counts"][part] += 1
    (folder / MANIFEST).write_text(json.dumps(plain))
    with pytest.raises(TunemaxError, match="was changed by hand"):
        read_manifest(folder)
