from .description import Corpus, known_corpora, load_corpus
from .download import download_corpus
from .manifest import audio_paths, read_manifest
from .prepare import prepare_corpus
from .settings import CorpusConfig, SplitConfig, SyntheticConfig
from .synthetic import make_synthetic_corpus

__all__ = [
    "Corpus",
    "CorpusConfig",
    "SplitConfig",
    "SyntheticConfig",
    "audio_paths",
    "download_corpus",
    "known_corpora",
    "load_corpus",
    "make_synthetic_corpus",
    "prepare_corpus",
    "read_manifest",
]
