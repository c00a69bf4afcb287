from .center import center_embeddings
from .embed import extract_embeddings
from .finetune import finetune_upstream
from .make import make_upstream
from .measure import measure_upstream
from .pretrain import pretrain_upstream

__all__ = [
    "center_embeddings",
    "extract_embeddings",
    "finetune_upstream",
    "make_upstream",
    "measure_upstream",
    "pretrain_upstream",
]
