"""Text made into tokens once, and read from there: `prepare`, `load`, `open_data`, `Corpus`."""

from gpt.data.corpus import Corpus, load
from gpt.data.manifest import PARTS, SLICES, Manifest, Part
from gpt.data.preparation import data_root, open_data, prepare

__all__ = ["PARTS", "SLICES", "Corpus", "Manifest", "Part", "data_root", "load", "open_data", "prepare"]
