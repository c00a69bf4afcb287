"""Loads speech models in Hugging Face form as TensorFlow encoders."""

import contextlib
import copy
import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from safetensors.numpy import save
from transformers import (
    PretrainedConfig,
    TFWav2Vec2ForSequenceClassification,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)
from transformers.modeling_tf_utils import keras
from transformers.utils import logging

from ser_nsl.errors import InputError
from ser_nsl.upstream.config import check_size, read_config, read_extractor
from ser_nsl.upstream.encoder import Encoder
from ser_nsl.upstream.head import EMBEDDING_WIDTH, FC1, Head, has_head, read_head
from ser_nsl.upstream.hub import checkpoint_folder
from ser_nsl.upstream.wav2vec2 import Wav2Vec2Encoder
from ser_nsl.upstream.weights import fitting, read_weights, to_pytorch, weight_name
from ser_nsl.upstream.whisper import WhisperEncoder

_MASK = "masked_spec_embed"  # only used in training; many checkpoints have none


@dataclass(frozen=True)
class _Architecture:
    """One kind of encoder.

    Attributes:
        encoder: Class of ours.
        body: Class of transformers, `module:name` below `transformers.models`.
        bare: Class of PyTorch of a model without head.
        extractor: Input settings.
        prefixes: Before the names of the body's weights, in a model with head or decoder; the
            last one in a model without.
    """

    encoder: type[Any]
    body: str
    bare: str
    extractor: type[Any]
    prefixes: tuple[str, ...]


_ARCHITECTURES = {
    "wav2vec2": _Architecture(
        Wav2Vec2Encoder,
        "wav2vec2.modeling_tf_wav2vec2:TFWav2Vec2MainLayer",
        "Wav2Vec2Model",
        Wav2Vec2FeatureExtractor,
        ("wav2vec2.", ""),
    ),
    "hubert": _Architecture(
        Wav2Vec2Encoder,
        "hubert.modeling_tf_hubert:TFHubertMainLayer",
        "HubertModel",
        Wav2Vec2FeatureExtractor,
        ("hubert.", ""),
    ),
    "whisper": _Architecture(
        WhisperEncoder,
        "whisper.modeling_tf_whisper:TFWhisperEncoder",
        "WhisperModel",
        WhisperFeatureExtractor,
        ("model.encoder.", "encoder."),
    ),
}


@dataclass(frozen=True)
class Upstream:
    """A frozen encoder, and its emotion head if it has one.

    Attributes:
        name: Its folder or hub name, for messages.
        encoder: The encoder.
        head: FC1 and classifier, or None.
    """

    name: str
    encoder: Encoder
    head: Head | None

    def fingerprint(self, *, with_head: bool) -> str:
        """Hashes all that embeddings depend on: weights, and the settings that matter.

        It does not depend on the files that they came from, nor on the machine.

        Args:
            with_head: Whether the embeddings are FC1.

        Returns:
            The first 16 hexadecimal digits of a SHA-256.

        Raises:
            InputError: If a head is asked for and there is none.
        """
        settings = dict(self.encoder.settings)
        arrays: dict[str, Any] = {n: v.numpy() for n, v in self.encoder.weights.items()}
        if with_head:
            head = self.require_head()
            settings["head"] = (head.layers, head.pooling, head.activation)
            arrays |= {f"head.{name}": head.arrays[name] for name in FC1}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for name, array in sorted(arrays.items()):
            digest.update(f"\n{name} {list(array.shape)}\n".encode())
            digest.update(array.astype("<f4").tobytes())
        return digest.hexdigest()[:16]

    def require_head(self) -> Head:
        """Returns the head.

        Raises:
            InputError: If there is none.
        """
        if self.head is None:
            raise InputError(
                f"upstream: {self.name!r} has no emotion head; give --layers to embed by the "
                "encoder alone, or make a head first with ser-nsl train-head or finetune-upstream."
            )
        return self.head


def load_upstream(name_or_dir: str) -> Upstream:
    """Loads an encoder: a wav2vec 2.0, a HuBERT, or the encoder of a Whisper.

    No code of a checkpoint is run. Settings may request an attention mask, which marks padding:
    here only clips of equal length share a batch and none is padded, so a mask would change
    nothing.

    Args:
        name_or_dir: A folder, or a hub name, where `name@revision` is a branch, tag or commit,
            e.g. openai/whisper-base@main. It holds `config.json` and `model.safetensors`,
            `tf_model.h5` or `pytorch_model.bin` (which needs the extra `torch`).

    Returns:
        The encoder, with the head that `train_head` wrote beside it, or the projector and
        classifier of a fine-tuned wav2vec 2.0.

    Raises:
        InputError: If the checkpoint cannot be found or read, is of another architecture,
            TensorFlow would compute other numbers than PyTorch, or weights do not match
            config.json.
    """
    folder = checkpoint_folder(name_or_dir)
    config = read_config(folder, name_or_dir)
    extractor = read_extractor(folder, config, name_or_dir)
    weights = read_weights(folder, name_or_dir)
    check_size(config, weights, name_or_dir)
    with _buildable(name_or_dir):
        encoder = new_encoder(config, extractor)
    prefixes = _ARCHITECTURES[config.model_type].prefixes
    own, others = _divide(weights, prefixes, name_or_dir)
    _check_weights(encoder.body, own, name_or_dir)
    _assign(encoder.body, own)
    if has_head(folder):
        head: Head | None = read_head(folder, encoder.layers, encoder.width)
    else:
        head = _projector_head(encoder, others, name_or_dir)
    return Upstream(name_or_dir, encoder, head)


def new_encoder(config: PretrainedConfig, extractor: Any) -> Encoder:
    """Makes an encoder with random weights, from Keras's global seed.

    Args:
        config: Its settings: of a wav2vec 2.0, a HuBERT or a Whisper.
        extractor: Its input settings.

    Returns:
        The encoder.
    """
    made = _ARCHITECTURES[config.model_type]
    module, _, class_name = made.body.partition(":")
    body_class = getattr(importlib.import_module(f"transformers.models.{module}"), class_name)
    with quiet_transformers():
        body = body_class(config, name="body")
        with tf.name_scope("body"):
            body.build(None)
    return made.encoder(body, extractor)


def load_for_finetuning(
    name_or_dir: str, classes: tuple[str, ...]
) -> tuple[TFWav2Vec2ForSequenceClassification, Wav2Vec2FeatureExtractor]:
    """Loads a wav2vec 2.0 as a classifier of transformers, to be trained as a whole.

    Args:
        name_or_dir: As for `load_upstream`.
        classes: Classes of the head: the checkpoint's own projector if it has one of width 256,
            and with it its own classifier if that has exactly these classes in this order;
            otherwise new ones.

    Returns:
        The model and its input settings.

    Raises:
        InputError: As `load_upstream`, or if it is no wav2vec 2.0.
    """
    folder = checkpoint_folder(name_or_dir)
    config = read_config(folder, name_or_dir)
    if config.model_type != "wav2vec2":
        raise InputError(
            f"upstream: {name_or_dir!r} is a {config.model_type}, and only a wav2vec 2.0 can be "
            "fine-tuned as a whole; freeze the encoder: ser-nsl train-head."
        )
    extractor = read_extractor(folder, config, name_or_dir)
    weights = read_weights(folder, name_or_dir)
    check_size(config, weights, name_or_dir)
    own_classes = _classes(config)
    config.classifier_proj_size = EMBEDDING_WIDTH
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: i for i, name in config.id2label.items()}
    # TensorFlow would choose the layers to drop only once, when it traces a step.
    config.layerdrop = 0.0
    with _buildable(name_or_dir):
        model = TFWav2Vec2ForSequenceClassification(config)
        model.build_in_name_scope()
    own, others = _divide(weights, _ARCHITECTURES["wav2vec2"].prefixes, name_or_dir)
    own = {f"wav2vec2.{name}": value for name, value in own.items()}
    _check_weights(model.wav2vec2, own, name_or_dir)
    _assign(model.wav2vec2, own)
    if not _lacking(model.projector, others):
        _assign(model.projector, others)
        if classes == own_classes and not _lacking(model.classifier, others):
            _assign(model.classifier, others)
    return model, extractor


def save_encoder(encoder: Encoder, folder: Path, *, half: bool = False) -> None:
    """Writes an encoder in Hugging Face form, without head or decoder.

    Args:
        encoder: The encoder.
        folder: Folder for `config.json`, `preprocessor_config.json` and `model.safetensors`.
        half: Whether to write float16, which halves the file.
    """
    prefix = _ARCHITECTURES[encoder.architecture].prefixes[-1]
    dtype = np.float16 if half else np.float32
    tensors = {
        f"{prefix}{weight_name(v)}": np.ascontiguousarray(to_pytorch(v)).astype(dtype)
        for v in encoder.body.weights
    }
    # Not by `save_file`, whose files only their owner may read.
    (folder / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))
    config = copy.deepcopy(encoder.body.config)
    config.architectures = [_ARCHITECTURES[encoder.architecture].bare]
    config.save_pretrained(folder)
    encoder.extractor.save_pretrained(folder)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silences transformers while it makes a TensorFlow model.

    It warns of its next major version, and that CPUs cannot train, which is not true inside
    `tf.function`.
    """
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


@contextlib.contextmanager
def _buildable(name: str) -> Iterator[None]:
    """Turns errors of building a network into one that names its settings."""
    try:
        with quiet_transformers():
            yield
    except (ValueError, TypeError, KeyError, ZeroDivisionError) as error:
        raise InputError(
            f"upstream: config.json of {name!r} describes a model that TensorFlow cannot build; "
            f"choose another checkpoint. ({error})"
        ) from error


def _divide(
    weights: Mapping[str, np.ndarray], prefixes: tuple[str, ...], name: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns the body's weights without their prefix, and all others."""
    prefix = next(p for p in prefixes if p == prefixes[-1] or any(n.startswith(p) for n in weights))
    own = {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}
    others = {n: v for n, v in weights.items() if not n.startswith(prefix)}
    twice = sorted(own.keys() & {n.removeprefix(p) for p in prefixes for n in others})
    if twice:
        raise InputError(
            f"upstream: {name!r} has {len(twice)} weights twice, with and without {prefix!r} "
            f"before their name (first: {twice[0]}); make or download it again."
        )
    return own, others


def _check_weights(body: keras.layers.Layer, weights: Mapping[str, np.ndarray], name: str) -> None:
    """Refuses weights that do not match config.json."""
    _refuse_lacking(_lacking(body, weights), name)
    known = {weight_name(variable) for variable in body.weights}
    surplus = sorted(n for n in weights if n not in known and not n.endswith(_MASK))
    if surplus:
        raise InputError(
            f"upstream: {name!r} has {len(surplus)} weights that are not in its config.json "
            f"(first: {', '.join(surplus[:3])}); make or download it again."
        )


def _projector_head(encoder: Encoder, weights: Mapping[str, np.ndarray], name: str) -> Head | None:
    """Returns the head of a classifier of transformers: FC1 on each frame, then the mean."""
    config = encoder.body.config
    classes, inner = _classes(config), config.classifier_proj_size
    shapes = {
        "projector.weight": (inner, encoder.width),
        "projector.bias": (inner,),
        "classifier.weight": (len(classes), inner),
        "classifier.bias": (len(classes),),
    }
    if not weights.keys() & shapes.keys():
        return None
    _refuse_lacking(
        [n for n, shape in shapes.items() if n not in weights or weights[n].shape != shape], name
    )
    arrays = {
        "mean": np.zeros(encoder.width, np.float32),
        "scale": np.ones(encoder.width, np.float32),
        "fc1.kernel": weights["projector.weight"].T,
        "fc1.bias": weights["projector.bias"],
        "classifier.kernel": weights["classifier.weight"].T,
        "classifier.bias": weights["classifier.bias"],
    }
    return Head(classes, (encoder.layers,), "mean", "linear", arrays)


def _refuse_lacking(lacking: Sequence[str], name: str) -> None:
    if lacking:
        raise InputError(
            f"upstream: {name!r} lacks {len(lacking)} weights of its config.json, or has them in "
            f"another size (first: {', '.join(sorted(lacking)[:3])}); make or download it again."
        )


def _classes(config: PretrainedConfig) -> tuple[str, ...]:
    return tuple(label for _, label in sorted((config.id2label or {}).items()))


def _lacking(layer: keras.layers.Layer, weights: Mapping[str, np.ndarray]) -> list[str]:
    """Returns the names of a layer's weights that are missing or have another size."""
    names = (weight_name(v) for v in layer.weights if fitting(v, weights) is None)
    return [name for name in names if not name.endswith(_MASK)]


def _assign(layer: keras.layers.Layer, weights: Mapping[str, np.ndarray]) -> None:
    for variable in layer.weights:
        value = fitting(variable, weights)
        if value is not None:  # only the mask may be missing
            variable.assign(value)
