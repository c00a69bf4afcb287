from .data import (
    LabelledClips,
    TrainingClips,
    labelled_clips,
    training_clips,
)
from .graph_regularization import GraphRegularization, graph_config
from .orders import shuffled
from .train import train_downstream
from .uar import UAR

__all__ = [
    "GraphRegularization",
    "LabelledClips",
    "TrainingClips",
    "UAR",
    "graph_config",
    "labelled_clips",
    "shuffled",
    "train_downstream",
    "training_clips",
]
