"""wav2vec 2.0 checkpoints in Hugging Face form: load, make at random, save."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from transformers import (
    AutoConfig,
    TFWav2Vec2ForSequenceClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
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
        name_or_dir: Hub name, or a folder with `config.json` and TensorFlow or safetensors
            weights.
        classes: Gives the model a projector of 256 numbers and a new classifier for these
            classes; None keeps the checkpoint's own head.

    Returns:
        The model, and the settings of its input.

    Raises:
        InputError: If the checkpoint cannot be found or read, is no wav2vec 2.0, or has no
            head and `classes` is None.
    """
    if name_or_dir.startswith((".", "/")) and not Path(name_or_dir).is_dir():
        raise InputError(
            f"upstream: {name_or_dir} is not a folder; give a checkpoint's folder or hub name."
        )
    try:
        config = AutoConfig.from_pretrained(name_or_dir, trust_remote_code=False)
    except (OSError, ValueError) as error:
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
    try:
        with quiet_transformers():
            model = TFWav2Vec2ForSequenceClassification.from_pretrained(
                name_or_dir, config=config, ignore_mismatched_sizes=classes is not None
            )
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"upstream: {name_or_dir!r} has no weights that can be read here; it needs tf_model.h5 "
            f"or model.safetensors. ({_first_line(error)})"
        ) from error
    try:
        extractor = Wav2Vec2FeatureExtractor.from_pretrained(name_or_dir)
    except OSError:  # a checkpoint without preprocessor_config.json has the published settings
        extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    return model, extractor


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


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
