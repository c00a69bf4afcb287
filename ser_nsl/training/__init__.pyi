from .choose import choose_model
from .data import LabelledClips, TrainingClips, labelled_clips, training_clips
from .graph_regularization import GraphRegularization, graph_config
from .orders import shuffled
from .pseudo_labels import pseudo_label
from .settings import AugmentationConfig, TrainingConfig
from .taught import Taught
from .teach import teach_network
from .train import train_downstream

__all__ = [
    "AugmentationConfig",
    "GraphRegularization",
    "LabelledClips",
    "Taught",
    "TrainingClips",
    "TrainingConfig",
    "choose_model",
    "graph_config",
    "labelled_clips",
    "pseudo_label",
    "shuffled",
    "teach_network",
    "train_downstream",
    "training_clips",
]
