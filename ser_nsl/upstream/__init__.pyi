from .embed import extract_embeddings
from .finetune import finetune_upstream
from .make import make_upstream
from .pretrain import pretrain_upstream
from .settings import FineTuningConfig, PretrainingConfig, SmallUpstreamConfig

__all__ = [
    "PretrainingConfig",
    "SmallUpstreamConfig",
    "FineTuningConfig",
    "extract_embeddings",
    "finetune_upstream",
    "make_upstream",
    "pretrain_upstream",
]
