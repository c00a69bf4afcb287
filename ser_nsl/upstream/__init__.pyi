from .embed import extract_embeddings
from .finetune import finetune_upstream
from .settings import FineTuningConfig

__all__ = ["FineTuningConfig", "extract_embeddings", "finetune_upstream"]
