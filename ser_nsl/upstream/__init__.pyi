from .embed import extract_embeddings
from .finetune import finetune_upstream
from .make import make_upstream
from .pretrain import pretrain_upstream
from .settings import PretrainingConfig, SmallUpstreamConfig, UpstreamConfig

__all__ = [
    "PretrainingConfig",
    "SmallUpstreamConfig",
    "UpstreamConfig",
    "extract_embeddings",
    "finetune_upstream",
    "make_upstream",
    "pretrain_upstream",
]
