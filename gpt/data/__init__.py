"""Text made into tokens once, and read from there: `prepare`, `load`, `open_data`, `Corpus`."""

from tunemax.gpt.data.corpus import Corpus, load
from tunemax.gpt.data.manifest import PARTS, SLICES, Manifest, Part
from tunemax.gpt.data.preparation import data_root, open_data, prepare, skipped_of

__all__ = ["PARTS", "SLICES", "Corpus", "Manifest", "Part", "data_root", "load", "open_data", "prepare", "skipped_of"]
