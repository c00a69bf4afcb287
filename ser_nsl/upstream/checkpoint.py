"""Loads wav2vec 2.0 checkpoints in Hugging Face form as TensorFlow models."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping

import numpy as np
from transformers import (
    TFWav2Vec2ForSequenceClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
)
from transformers.modeling_tf_utils import keras
from transformers.utils import logging

from ser_nsl.errors import InputError
from ser_nsl.upstream.config import check_size, read_config, read_extractor
from ser_nsl.upstream.hub import checkpoint_folder
from ser_nsl.upstream.weights import fitting, read_weights, weight_name

EMBEDDING_WIDTH = 256
"""Width of the projector, FC1 of arXiv 2210.14977."""

_MASK = "wav2vec2.masked_spec_embed"  # only used in training; many checkpoints have none
_SETTINGS_OF_RESULTS = (
    "conv_stride",
    "do_stable_layer_norm",
    "feat_extract_activation",
    "feat_extract_norm",
    "hidden_act",
    "num_attention_heads",
)


def load_upstream(
    name_or_dir: str, *, classes: tuple[str, ...] | None = None, needs_head: bool = True
) -> tuple[TFWav2Vec2ForSequenceClassification, Wav2Vec2FeatureExtractor]:
    """Loads a checkpoint of TensorFlow or PyTorch, with a new emotion head on request.

    No code of a checkpoint is run. Its settings decide whether clips are standardised. They may
    also request an attention mask, which marks padding: here only clips of equal length share a
    batch and none is padded, so a mask would be all ones and change nothing.

    Args:
        name_or_dir: A folder, or a hub name, where `name@revision` is a branch, tag or commit,
            e.g. facebook/wav2vec2-base@main. It holds `config.json` and `model.safetensors`,
            `tf_model.h5` or `pytorch_model.bin` (which needs the extra `torch`).
        classes: Classes of a head for fine-tuning: the checkpoint's own projector if it has one
            of width 256, and with it its own classifier if that has exactly these classes in this
            order; otherwise new ones. None keeps the checkpoint's own head.
        needs_head: Whether to refuse a checkpoint without emotion head if `classes` is None. If
            not, the missing weights of the head are random and must not be used.

    Returns:
        The model and its input settings.

    Raises:
        InputError: If the checkpoint cannot be found or read, is not a wav2vec 2.0 that TensorFlow
            computes as PyTorch does, a setting is out of its range, its weights are not finite or
            do not match its config.json, or it has no head and needs one.
    """
    folder = checkpoint_folder(name_or_dir)
    config = read_config(folder, name_or_dir)
    extractor = read_extractor(folder, name_or_dir)
    weights = read_weights(folder, name_or_dir)
    check_size(config, weights, name_or_dir)
    own_classes = tuple(label for _, label in sorted((config.id2label or {}).items()))
    if classes is not None:
        config.classifier_proj_size = EMBEDDING_WIDTH
        config.id2label = dict(enumerate(classes))
        config.label2id = {name: i for i, name in config.id2label.items()}
        # TensorFlow would choose the layers to drop only once, when it traces a step.
        config.layerdrop = 0.0
    model = _build(config, name_or_dir)
    _check_weights(model, weights, name_or_dir, with_head=needs_head and classes is None)
    _assign(model.wav2vec2, weights)
    if not _lacking(model.projector, weights):
        _assign(model.projector, weights)
        if classes in (None, own_classes) and not _lacking(model.classifier, weights):
            _assign(model.classifier, weights)
    return model, extractor


def fingerprint(
    model: TFWav2Vec2ForSequenceClassification,
    extractor: Wav2Vec2FeatureExtractor,
    *,
    with_head: bool,
) -> str:
    """Hashes everything that embeddings depend on: weights, and the settings that matter.

    It does not depend on the files that the weights came from, nor on the machine.

    Args:
        model: The upstream.
        extractor: Its input settings.
        with_head: Whether the embeddings depend on the projector.

    Returns:
        The first 16 hexadecimal digits of a SHA-256.
    """
    layers = (model.wav2vec2, model.projector) if with_head else (model.wav2vec2,)
    weights = {weight_name(variable): variable for layer in layers for variable in layer.weights}
    weights.pop(_MASK, None)
    settings = {key: getattr(model.config, key) for key in _SETTINGS_OF_RESULTS}
    settings["do_normalize"] = extractor.do_normalize
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, variable in sorted(weights.items()):
        digest.update(f"\n{name} {variable.shape.as_list()}\n".encode())
        digest.update(variable.numpy().astype("<f4").tobytes())
    return digest.hexdigest()[:16]


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


def _build(config: Wav2Vec2Config, name: str) -> TFWav2Vec2ForSequenceClassification:
    try:
        with quiet_transformers():
            model = TFWav2Vec2ForSequenceClassification(config)
            model.build_in_name_scope()
    except (ValueError, KeyError) as error:
        raise InputError(
            f"upstream: config.json of {name!r} describes a model that TensorFlow cannot build; "
            f"choose another checkpoint. ({error})"
        ) from error
    return model


def _check_weights(
    model: TFWav2Vec2ForSequenceClassification,
    weights: Mapping[str, np.ndarray],
    name: str,
    *,
    with_head: bool,
) -> None:
    """Refuses weights that do not match config.json."""
    lacking = _lacking(model.wav2vec2, weights)
    if with_head and not lacking:
        if not any(key.startswith(("projector.", "classifier.")) for key in weights):
            raise InputError(
                f"upstream: {name!r} has no emotion head; fine-tune it first with ser-nsl "
                "finetune-upstream."
            )
        lacking = _lacking(model.projector, weights) + _lacking(model.classifier, weights)
    if lacking:
        raise InputError(
            f"upstream: {name!r} lacks {len(lacking)} weights of its config.json, or has them in "
            f"another size (first: {', '.join(lacking[:3])}); make or download it again."
        )
    known = {weight_name(variable) for variable in model.wav2vec2.weights} | {_MASK}
    surplus = [key for key in weights if key.startswith("wav2vec2.") and key not in known]
    if surplus:
        raise InputError(
            f"upstream: {name!r} has {len(surplus)} weights that are not in its config.json "
            f"(first: {', '.join(sorted(surplus)[:3])}); make or download it again."
        )


def _lacking(layer: keras.layers.Layer, weights: Mapping[str, np.ndarray]) -> list[str]:
    """Returns the names of a layer's weights that are missing or have another size."""
    names = (weight_name(v) for v in layer.weights if fitting(v, weights) is None)
    return sorted(name for name in names if name != _MASK)


def _assign(layer: keras.layers.Layer, weights: Mapping[str, np.ndarray]) -> None:
    for variable in layer.weights:
        value = fitting(variable, weights)
        if value is not None:  # only the mask may be missing
            variable.assign(value)
