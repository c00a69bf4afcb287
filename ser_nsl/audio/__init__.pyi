from .batches import Batch, read_batches, read_examples
from .clip import (
    SAMPLE_RATE_HZ,
    SILENCE_PEAK,
    fit_length,
    read_audio,
    to_mono,
)
from .examples import UNLABELLED, embedding_example, feature_example
from .features import Description, extract_features
from .folders import SUFFIXES
from .front_end import POWER_FLOOR, log_mel, mel_filters
from .records import read_embeddings, read_labels, read_logmels
from .resplit import resplit_records
from .settings import FrontEndConfig
from .shards import ShardWriter, has_split, shard_paths

__all__ = [
    "Batch",
    "Description",
    "FrontEndConfig",
    "POWER_FLOOR",
    "SAMPLE_RATE_HZ",
    "SILENCE_PEAK",
    "SUFFIXES",
    "ShardWriter",
    "UNLABELLED",
    "embedding_example",
    "extract_features",
    "feature_example",
    "fit_length",
    "has_split",
    "log_mel",
    "mel_filters",
    "read_audio",
    "read_batches",
    "read_embeddings",
    "read_examples",
    "read_labels",
    "read_logmels",
    "resplit_records",
    "shard_paths",
    "to_mono",
]
