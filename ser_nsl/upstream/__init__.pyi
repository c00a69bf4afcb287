from .distill import distill_upstream
from .embed import extract_embeddings
from .finetune import finetune_upstream
from .settings import DistillationConfig, FineTuningConfig, HeadConfig, StudentConfig
from .train_head import train_head

__all__ = [
    "DistillationConfig",
    "FineTuningConfig",
    "HeadConfig",
    "StudentConfig",
    "distill_upstream",
    "extract_embeddings",
    "finetune_upstream",
    "train_head",
]
