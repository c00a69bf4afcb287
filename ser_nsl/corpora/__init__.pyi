from .download import download_corpus
from .layout import Clip, Reader
from .manifest import audio_paths, read_manifest
from .prepare import prepare_corpus
from .registry import CORPORA, CorpusName
from .synthetic import make_synthetic_corpus

__all__ = [
    "CORPORA",
    "Clip",
    "CorpusName",
    "Reader",
    "audio_paths",
    "download_corpus",
    "make_synthetic_corpus",
    "prepare_corpus",
    "read_manifest",
]
