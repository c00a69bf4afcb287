from .center import center_embeddings
from .fuse import fuse_embeddings
from .mfcc import extract_mfccs
from .probe import probe_embeddings

__all__ = [
    "center_embeddings",
    "extract_mfccs",
    "fuse_embeddings",
    "probe_embeddings",
]
