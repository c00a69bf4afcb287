"""The emotion head of an upstream: FC1 on frames pooled over time, and a classifier."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ser_nsl.errors import InputError
from ser_nsl.lazy import tf
from ser_nsl.upstream.encoder import Pooling, pool_layers

EMBEDDING_WIDTH = 256
"""Width of FC1 (arXiv 2210.14977), the projector of transformers' classifiers."""

FC1 = ("mean", "scale", "fc1.kernel", "fc1.bias")
"""Those of a head's arrays on which embeddings depend."""

_SETTINGS, _ARRAYS = "emotion_head.json", "emotion_head.safetensors"


@dataclass(frozen=True, eq=False)
class Head:
    """FC1 and a classifier on the frames of a frozen encoder.

    Attributes:
        classes: Emotions, in the order of the logits.
        layers: Layers of the encoder whose pooled frames stand side by side.
        pooling: As `ser_nsl.upstream.encoder.pool`.
        activation: Of FC1.
        arrays: float32: `mean` and `scale`, by which pooled frames are standardised, shape
            `(inputs,)`; `fc1.kernel`, `(inputs, 256)`, `fc1.bias`, `(256,)`;
            `classifier.kernel`, `(256, classes)`, and `classifier.bias`, `(classes,)`.
    """

    classes: tuple[str, ...]
    layers: tuple[int, ...]
    pooling: Pooling
    activation: Literal["linear", "relu"]
    arrays: Mapping[str, np.ndarray]

    @property
    def width(self) -> int:
        """Width of an embedding."""
        return self.arrays["fc1.bias"].size

    def embed(self, frames: Sequence[tf.Tensor]) -> tf.Tensor:
        """Computes FC1.

        Args:
            frames: Per layer of `self.layers`, shape `(batch, frames, width)`.

        Returns:
            float32, shape `(batch, self.width)`.
        """
        return self.project(pool_layers(frames, self.pooling))

    def project(self, pooled: tf.Tensor) -> tf.Tensor:
        """Computes FC1 of frames that are pooled already, shape `(batch, inputs)`."""
        standardised = (pooled - self.arrays["mean"]) / self.arrays["scale"]
        fc1 = standardised @ self.arrays["fc1.kernel"] + self.arrays["fc1.bias"]
        return tf.nn.relu(fc1) if self.activation == "relu" else fc1

    def logits(self, embeddings: np.ndarray) -> np.ndarray:
        """Computes one logit a class from embeddings, shape `(clips, self.width)`."""
        return embeddings @ self.arrays["classifier.kernel"] + self.arrays["classifier.bias"]

    def save(self, folder: Path) -> None:
        """Writes the head beside the encoder's checkpoint."""
        from safetensors.numpy import save

        settings = {
            "classes": self.classes,
            "layers": self.layers,
            "pooling": self.pooling,
            "activation": self.activation,
        }
        (folder / _SETTINGS).write_text(json.dumps(settings, indent=1) + "\n")
        (folder / _ARRAYS).write_bytes(save(dict(self.arrays)))


def has_head(folder: Path) -> bool:
    """Returns whether a folder holds a head that `Head.save` wrote."""
    return (folder / _SETTINGS).is_file()


def read_head(folder: Path, encoder_layers: int, encoder_width: int) -> Head:
    """Reads a head that `Head.save` wrote.

    Args:
        folder: Folder of the upstream.
        encoder_layers: Number of layers of its encoder.
        encoder_width: Width of its frames.

    Returns:
        The head.

    Raises:
        InputError: If a file is damaged, or the head does not fit the encoder.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        values = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
        arrays = {name: a.astype(np.float32) for name, a in load_file(folder / _ARRAYS).items()}
        classes, layers = tuple(values["classes"]), tuple(values["layers"])
        inputs = encoder_width * len(layers) * (1 if values["pooling"] == "mean" else 2)
        shapes = {
            "mean": (inputs,),
            "scale": (inputs,),
            "fc1.kernel": (inputs, EMBEDDING_WIDTH),
            "fc1.bias": (EMBEDDING_WIDTH,),
            "classifier.kernel": (EMBEDDING_WIDTH, len(classes)),
            "classifier.bias": (len(classes),),
        }
        fits = (
            {name: array.shape for name, array in arrays.items()} == shapes
            and all(np.isfinite(array).all() for array in arrays.values())
            and (arrays["scale"] > 0).all()
            and len(set(classes)) == len(classes)
            and all(0 <= layer <= encoder_layers for layer in layers)
            and values["pooling"] in ("mean", "statistics")
            and values["activation"] in ("linear", "relu")
        )
        if fits:
            return Head(classes, layers, values["pooling"], values["activation"], arrays)
    except (OSError, ValueError, TypeError, KeyError, RecursionError, SafetensorError) as error:
        raise InputError(
            f"upstream: {_SETTINGS} or {_ARRAYS} of {folder} cannot be read; make them again with "
            f"ser-nsl train-head. ({type(error).__name__}: {error})"
        ) from error
    raise InputError(
        f"upstream: the head in {folder / _SETTINGS} does not fit the encoder beside it, which has "
        f"{encoder_layers} layers of width {encoder_width}; make it again with ser-nsl train-head."
    )
