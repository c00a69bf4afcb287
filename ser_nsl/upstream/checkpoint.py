"""wav2vec 2.0 checkpoints in Hugging Face form: load, make at random, save."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    TFWav2Vec2ForSequenceClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    modeling_tf_utils,
)
from transformers.utils import logging

from ser_nsl.errors import InputError

EMBEDDING_WIDTH = 256  # the projector, FC1 of arXiv 2210.14977
_VARIANCE_FLOOR = 1e-7  # as Wav2Vec2FeatureExtractor


def load_upstream(
    name_or_dir: str, *, classes: tuple[str, ...] | None = None
) -> tuple[TFWav2Vec2ForSequenceClassification, Wav2Vec2FeatureExtractor]:
    """Loads a checkpoint with a classification head.

    Args:
        name_or_dir: Hub name, or a folder with `config.json` and `tf_model.h5` or
            `model.safetensors`, be it of TensorFlow or PyTorch.
        classes: Gives the model a projector of 256 numbers and a new classifier for these
            classes; None keeps the checkpoint's own head.

    Returns:
        The model, and the settings of its input.

    Raises:
        InputError: If the checkpoint cannot be found or read, is no wav2vec 2.0, lacks weights,
            or has no head and `classes` is None.
    """
    config = _read_config(name_or_dir, classes)
    model = _read_weights(name_or_dir, config, new_head=classes is not None)
    try:
        extractor = Wav2Vec2FeatureExtractor.from_pretrained(name_or_dir)
    except OSError:  # a checkpoint without preprocessor_config.json has the published settings
        extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    return model, extractor


def _read_config(name_or_dir: str, classes: tuple[str, ...] | None) -> Wav2Vec2Config:
    if name_or_dir.startswith((".", "/")) and not Path(name_or_dir).is_dir():
        raise InputError(
            f"upstream: {name_or_dir} is not a folder; give a checkpoint's folder or hub name."
        )
    try:
        config = AutoConfig.from_pretrained(name_or_dir, trust_remote_code=False)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"upstream: {name_or_dir!r} is neither a folder with config.json nor a checkpoint of "
            "the hub that can be reached from here. Download it where there is a network and give "
            "the folder, or make a small one with tools/make_upstream.py. "
            f"({_first_line(error)})"
        ) from error
    if not isinstance(config, Wav2Vec2Config):
        raise InputError(
            f"upstream: {name_or_dir!r} is a {config.model_type}; it must be a wav2vec 2.0."
        )
    if classes is not None:
        config.classifier_proj_size = EMBEDDING_WIDTH
        config.id2label = dict(enumerate(classes))
        config.label2id = {name: i for i, name in config.id2label.items()}
        # The TensorFlow model would draw the layers to drop once only, when a step is traced.
        config.layerdrop = 0.0
    elif "Wav2Vec2ForSequenceClassification" not in str(config.architectures):
        raise InputError(
            f"upstream: {name_or_dir!r} has no emotion head; fine-tune it first with "
            "tools/finetune_upstream.py."
        )
    return config


def _read_weights(
    name_or_dir: str, config: Wav2Vec2Config, *, new_head: bool
) -> TFWav2Vec2ForSequenceClassification:
    try:
        with quiet_transformers(), _iterable_archives():
            model, info = TFWav2Vec2ForSequenceClassification.from_pretrained(
                name_or_dir,
                config=config,
                ignore_mismatched_sizes=new_head,
                output_loading_info=True,
            )
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f"upstream: {name_or_dir!r} has no weights that can be read here; it needs tf_model.h5 "
            f"or model.safetensors. ({_first_line(error)})"
        ) from error
    # transformers fills what is lacking with random numbers. That of masks matters in training
    # only, and many checkpoints have none.
    replaceable = ("masked_spec_embed", *(("projector", "classifier") if new_head else ()))
    lacking = [
        key
        for key in (*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"]))
        if not any(name in key for name in replaceable)
    ]
    if lacking:
        raise InputError(
            f"upstream: {name_or_dir!r} lacks {len(lacking)} weights that its config.json tells of "
            f"(first: {', '.join(lacking[:3])}); make or download it again."
        )
    return model


def standardise(waveform: tf.Tensor, extractor: Wav2Vec2FeatureExtractor) -> tf.Tensor:
    """Brings each clip to mean 0 and deviation 1, where the checkpoint was trained so.

    Args:
        waveform: float32, shape `(batch, samples)`, without padding.
        extractor: Settings of the checkpoint's input.

    Returns:
        float32, same shape.
    """
    if not extractor.do_normalize:
        return waveform
    mean, variance = tf.nn.moments(waveform, axes=[1], keepdims=True)
    return (waveform - mean) * tf.math.rsqrt(variance + _VARIANCE_FLOOR)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Holds back what transformers says when it makes a TensorFlow model.

    It warns of its next major version, and that CPUs cannot train, which they can inside
    `tf.function`.
    """
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


@contextlib.contextmanager
def _iterable_archives() -> Iterator[None]:
    """Lets transformers 4.57 read PyTorch's safetensors (its issue 40028)."""
    modeling_tf_utils.safe_open = _IterableArchive
    try:
        yield
    finally:
        modeling_tf_utils.safe_open = safe_open


class _IterableArchive:
    """A `safe_open` that iterates over its keys, as transformers takes for granted."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._archive = safe_open(*args, **kwargs)

    def __enter__(self) -> "_IterableArchive":
        self._archive.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._archive.__exit__(*error)

    def __iter__(self) -> Iterator[str]:
        return iter(self._archive.keys())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._archive, name)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
