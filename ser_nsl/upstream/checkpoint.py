"""Loads speech models in Hugging Face form as TensorFlow encoders."""

import contextlib
import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from safetensors.numpy import save_file
from transformers import (
    AutoConfig,
    PretrainedConfig,
    TFWav2Vec2ForSequenceClassification,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)
from transformers.modeling_tf_utils import keras
from transformers.utils import logging

from ser_nsl.audio.clip import SAMPLE_RATE_HZ
from ser_nsl.errors import InputError
from ser_nsl.upstream import wav2vec2
from ser_nsl.upstream.encoder import Encoder
from ser_nsl.upstream.head import EMBEDDING_WIDTH, Head, has_head, read_head
from ser_nsl.upstream.hubert import HubertEncoder
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
        extractor: Input settings.
        prefixes: Before the names of the body's weights, in a model with head or decoder; the
            last one in a model without.
    """

    encoder: type[Any]
    body: str
    extractor: type[Any]
    prefixes: tuple[str, ...]


_ARCHITECTURES = {
    "wav2vec2": _Architecture(
        Wav2Vec2Encoder,
        "wav2vec2.modeling_tf_wav2vec2:TFWav2Vec2MainLayer",
        Wav2Vec2FeatureExtractor,
        ("wav2vec2.", ""),
    ),
    "hubert": _Architecture(
        HubertEncoder,
        "hubert.modeling_tf_hubert:TFHubertMainLayer",
        Wav2Vec2FeatureExtractor,
        ("hubert.", ""),
    ),
    "whisper": _Architecture(
        WhisperEncoder,
        "whisper.modeling_tf_whisper:TFWhisperEncoder",
        WhisperFeatureExtractor,
        ("model.encoder.", "encoder."),
    ),
}


@dataclass(frozen=True)
class Upstream:
    """A frozen encoder, and its emotion head if it has one.

    Attributes:
        encoder: The encoder.
        head: FC1 and classifier, or None.
    """

    encoder: Encoder
    head: Head | None

    @property
    def fingerprint(self) -> str:
        """Hash of all that embeddings depend on, weights and settings; 16 hexadecimal digits.

        It does not depend on the files that they came from, nor on the machine.
        """
        digest = hashlib.sha256(json.dumps(dict(self.encoder.settings), sort_keys=True).encode())
        arrays: dict[str, Any] = {n: v.numpy() for n, v in self.encoder.weights.items()}
        if self.head is not None:
            made = (self.head.layers, self.head.pooling, self.head.activation)
            digest.update(json.dumps(made).encode())
            arrays |= {f"head.{name}": array for name, array in self.head.arrays.items()}
        for name, array in sorted(arrays.items()):
            digest.update(f"\n{name} {list(array.shape)}\n".encode())
            digest.update(array.astype("<f4").tobytes())
        return digest.hexdigest()[:16]

    def require_head(self, name: str) -> Head:
        """Returns the head.

        Args:
            name: Name of the checkpoint in messages.

        Raises:
            InputError: If there is none.
        """
        if self.head is None:
            raise InputError(
                f"upstream: {name!r} has no emotion head; give --layers to embed by the encoder "
                "alone, or make a head first with ser-nsl train-head or finetune-upstream."
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
        InputError: If the checkpoint cannot be found or read, is of another architecture, TensorFlow
            would compute other numbers than PyTorch, or weights do not match config.json.
    """
    folder = checkpoint_folder(name_or_dir)
    config = _read_config(folder, name_or_dir)
    extractor = _read_extractor(folder, config.model_type, name_or_dir)
    made = _ARCHITECTURES[config.model_type]
    module, _, class_name = made.body.partition(":")
    body_class = getattr(importlib.import_module(f"transformers.models.{module}"), class_name)
    with _buildable(name_or_dir):
        body = body_class(config, name="body")
        with tf.name_scope("body"):
            body.build(None)
    weights = read_weights(folder, name_or_dir)
    own, others = _divide(weights, made.prefixes, name_or_dir)
    _check_weights(body, own, name_or_dir)
    _assign(body, own)
    encoder = made.encoder(body, extractor)
    if has_head(folder):
        return Upstream(encoder, read_head(folder, encoder.layers, encoder.width))
    return Upstream(encoder, _projector_head(config, others, name_or_dir))


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
    config = _read_config(folder, name_or_dir)
    if config.model_type != "wav2vec2":
        raise InputError(
            f"upstream: {name_or_dir!r} is a {config.model_type}, and only a wav2vec 2.0 can be "
            "fine-tuned as a whole; freeze the encoder: ser-nsl train-head."
        )
    extractor = _read_extractor(folder, config.model_type, name_or_dir)
    own_classes = _classes(config)
    config.classifier_proj_size = EMBEDDING_WIDTH
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: i for i, name in config.id2label.items()}
    # TensorFlow would choose the layers to drop only once, when it traces a step.
    config.layerdrop = 0.0
    with _buildable(name_or_dir):
        model = TFWav2Vec2ForSequenceClassification(config)
        model.build_in_name_scope()
    weights = read_weights(folder, name_or_dir)
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
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    encoder.body.config.save_pretrained(folder)
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


def _read_config(folder: Path, name: str) -> PretrainedConfig:
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(
            f"upstream: folder {name!r} has no config.json; give a checkpoint in Hugging Face form."
        )
    with _readable(path.name, name):
        values = json.loads(path.read_text(encoding="utf-8"))
        kind = values["model_type"]
        if kind in _ARCHITECTURES:
            config = AutoConfig.for_model(**values)
    if kind not in _ARCHITECTURES:
        raise InputError(
            f"upstream: {name!r} is a {kind}; it must be a wav2vec 2.0 (wav2vec2), a HuBERT "
            "(hubert) or a Whisper (whisper)."
        )
    if kind != "whisper":
        wav2vec2.check_config(config, name)
    return config


def _read_extractor(folder: Path, architecture: str, name: str) -> Any:
    """Reads `preprocessor_config.json`, or `processor_config.json` of transformers 5."""
    kind = _ARCHITECTURES[architecture].extractor
    values: dict[str, Any] | None = None
    for file in ("preprocessor_config.json", "processor_config.json"):
        if values is None and (folder / file).is_file():
            with _readable(file, name):
                values = json.loads((folder / file).read_text(encoding="utf-8"))
                values = values.get("feature_extractor", values)
                extractor = kind(**values)
    if values is None:
        if architecture == "whisper":
            raise InputError(
                f"upstream: {name!r} lacks preprocessor_config.json, the settings of Whisper's log "
                "Mel; download it from the same place as config.json."
            )
        return Wav2Vec2FeatureExtractor(do_normalize=True)  # the published settings
    if extractor.sampling_rate != SAMPLE_RATE_HZ:
        raise InputError(
            f"upstream: the sampling rate of {name!r} must be {SAMPLE_RATE_HZ} Hz; it is "
            f"{extractor.sampling_rate} Hz."
        )
    return extractor


@contextlib.contextmanager
def _readable(file: str, name: str) -> Iterator[None]:
    """Turns errors of reading a file into one that names it."""
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"upstream: {file} of {name!r} cannot be read; download it again. "
            f"({type(error).__name__}: {error})"
        ) from error


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


def _check_weights(
    body: keras.layers.Layer, weights: Mapping[str, np.ndarray], name: str
) -> None:
    """Refuses weights that do not match config.json."""
    lacking = _lacking(body, weights)
    if lacking:
        raise InputError(
            f"upstream: {name!r} lacks {len(lacking)} weights of its config.json, or has them in "
            f"another size (first: {', '.join(lacking[:3])}); make or download it again."
        )
    known = {weight_name(variable) for variable in body.weights}
    surplus = sorted(n for n in weights if n not in known and not n.endswith(_MASK))
    if surplus:
        raise InputError(
            f"upstream: {name!r} has {len(surplus)} weights that are not in its config.json "
            f"(first: {', '.join(surplus[:3])}); make or download it again."
        )
    broken = sorted(n for n in weights if not np.isfinite(weights[n]).all())
    if broken:
        raise InputError(
            f"upstream: {len(broken)} weights of {name!r} are not finite (first: {broken[0]}); "
            "make or download it again."
        )


def _projector_head(
    config: PretrainedConfig, weights: Mapping[str, np.ndarray], name: str
) -> Head | None:
    """Returns the head of a classifier of transformers: FC1 on each frame, then the mean."""
    names = [f"{part}.{kind}" for part in ("projector", "classifier") for kind in ("weight", "bias")]
    lacking = [each for each in names if each not in weights]
    if len(lacking) == len(names):
        return None
    classes = _classes(config)
    if not lacking and config.model_type != "whisper":
        arrays = {
            "mean": np.zeros(config.hidden_size, np.float32),
            "scale": np.ones(config.hidden_size, np.float32),
            "fc1.kernel": weights["projector.weight"].T,
            "fc1.bias": weights["projector.bias"],
            "classifier.kernel": weights["classifier.weight"].T,
            "classifier.bias": weights["classifier.bias"],
        }
        width = config.classifier_proj_size
        if (
            arrays["fc1.kernel"].shape == (config.hidden_size, width)
            and arrays["fc1.bias"].shape == (width,)
            and arrays["classifier.kernel"].shape == (width, len(classes))
            and arrays["classifier.bias"].shape == (len(classes),)
        ):
            return Head(classes, (config.num_hidden_layers,), "mean", "linear", arrays)
        lacking = names
    raise InputError(
        f"upstream: {name!r} lacks {len(lacking)} weights of its config.json, or has them in "
        f"another size (first: {', '.join(lacking[:3])}); make or download it again."
    )


def _classes(config: PretrainedConfig) -> tuple[str, ...]:
    return tuple(label for _, label in sorted((config.id2label or {}).items()))


def _lacking(layer: keras.layers.Layer, weights: Mapping[str, np.ndarray]) -> list[str]:
    """Returns the names of a layer's weights that are missing or have another size."""
    names = (weight_name(v) for v in layer.weights if fitting(v, weights) is None)
    return sorted(name for name in names if not name.endswith(_MASK))


def _assign(layer: keras.layers.Layer, weights: Mapping[str, np.ndarray]) -> None:
    for variable in layer.weights:
        value = fitting(variable, weights)
        if value is not None:  # only the mask may be missing
            variable.assign(value)
