from .clip import (
    SAMPLE_RATE_HZ,
    SILENCE_PEAK,
    cut_windows,
    fit_length,
    read_audio,
    to_mono,
)
from .features import Description, extract_features
from .folders import SUFFIXES
from .front_end import POWER_FLOOR, log_mel, mel_filters
from .records import (
    UNLABELLED,
    Batch,
    ShardWriter,
    embedding_example,
    feature_example,
    has_split,
    read_batches,
    read_embeddings,
    read_examples,
    read_labels,
    read_logmels,
    shard_paths,
)
from .resplit import resplit_records
from .settings import FrontEndConfig

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
    "cut_windows",
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
