from .download import download_corpus
from .layout import Clip, Reader
from .manifest import audio_paths, read_manifest
from .prepare import prepare_corpus
from .registry import CORPORA, CorpusName
from .settings import CorpusConfig, SplitConfig, SyntheticConfig
from .synthetic import make_synthetic_corpus

__all__ = [
    "CORPORA",
    "Clip",
    "CorpusConfig",
    "CorpusName",
    "Reader",
    "SplitConfig",
    "SyntheticConfig",
    "audio_paths",
    "download_corpus",
    "make_synthetic_corpus",
    "prepare_corpus",
    "read_manifest",
]
