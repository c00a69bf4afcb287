"""The settings of a wav2vec 2.0 checkpoint, checked before anything is built from them."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor

from ser_nsl.audio.clip import SAMPLE_RATE_HZ
from ser_nsl.errors import InputError
from ser_nsl.pipeline.settings import check

# The largest models that were published have 1,920 wide outputs and 48 layers.
_LARGEST = {
    "hidden_size": 8_192,
    "intermediate_size": 65_536,
    "num_hidden_layers": 512,
    "num_attention_heads": 512,
    "num_conv_pos_embeddings": 4_096,
    "num_conv_pos_embedding_groups": 8_192,
    "classifier_proj_size": 8_192,
    "mask_time_length": 100_000,
    "mask_feature_length": 8_192,
}
_LARGEST_IN_LISTS = {"conv_dim": 8_192, "conv_kernel": 1_024, "conv_stride": 1_024}
_SHARES = (
    *("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"),
    *("final_dropout", "layerdrop", "mask_time_prob", "mask_feature_prob"),
)
_SWITCHES = ("do_stable_layer_norm", "conv_bias", "apply_spec_augment")


def read_config(folder: Path, name: str) -> Wav2Vec2Config:
    """Reads `config.json`.

    Args:
        folder: Folder of the checkpoint.
        name: Name of the checkpoint in messages.

    Returns:
        The settings of the model.

    Raises:
        InputError: If the file is missing or damaged, a setting has another type or is out of its
            range, or it is no wav2vec 2.0 that TensorFlow computes as PyTorch does.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(
            f"upstream: folder {name!r} has no config.json; give a checkpoint in Hugging Face form."
        )
    with _readable(path.name, name):
        values = json.loads(path.read_text())
        kind = values["model_type"]
        config = Wav2Vec2Config.from_dict(values)
        if kind == Wav2Vec2Config.model_type:
            _check_settings(config)
    if kind != Wav2Vec2Config.model_type:
        raise InputError(f"upstream: {name!r} is a {kind}; it must be a wav2vec 2.0.")
    for setting, needed, supported in (
        ("conv_dim", "the same in all layers", len(set(config.conv_dim)) == 1),
        ("layer_norm_eps", "1e-05", config.layer_norm_eps == 1e-5),
        ("add_adapter", "false", not config.add_adapter),
        ("adapter_attn_dim", "null", config.adapter_attn_dim is None),
        ("use_weighted_layer_sum", "false", not config.use_weighted_layer_sum),
    ):
        if not supported:
            raise InputError(
                f"upstream: {setting} of {name!r} must be {needed}, or TensorFlow computes other "
                f"numbers than PyTorch; received {getattr(config, setting)}. Choose another "
                "checkpoint."
            )
    return config


def read_extractor(folder: Path, name: str) -> Wav2Vec2FeatureExtractor:
    """Reads how clips become inputs: `preprocessor_config.json`, or transformers 5's own file.

    Args:
        folder: Folder of the checkpoint.
        name: Name of the checkpoint in messages.

    Returns:
        The input settings; the published ones where there is no file.

    Raises:
        InputError: If the file is damaged, or the sample rate is another than ours.
    """
    values: Any = {}
    for file in EXTRACTOR_FILES:
        if (folder / file).is_file():
            with _readable(file, name):
                values = json.loads((folder / file).read_text())
                # Since version 5 it lies within the settings of the tokenizer and all else.
                values = values.get("feature_extractor", values)
                standardises = values.get("do_normalize", True)
                check(isinstance(standardises, bool), "do_normalize", "a bool", standardises)
            break
    rate = values.get("sampling_rate", SAMPLE_RATE_HZ)
    if rate != SAMPLE_RATE_HZ:
        raise InputError(
            f"upstream: the sampling rate of {name!r} must be {SAMPLE_RATE_HZ} Hz; it is {rate} Hz."
        )
    return Wav2Vec2FeatureExtractor(do_normalize=values.get("do_normalize", True))


EXTRACTOR_FILES = ("preprocessor_config.json", "processor_config.json")
"""Files with the input settings, in the order of preference."""


def check_size(config: Wav2Vec2Config, weights: Mapping[str, Any], name: str) -> None:
    """Refuses settings of a much larger model than the weights are of, before it is built.

    Args:
        config: The settings.
        weights: Arrays by name.
        name: Name of the checkpoint in messages.

    Raises:
        InputError: If the layers alone need more numbers than there are.
    """
    wide = config.hidden_size
    needed = config.num_hidden_layers * wide * (4 * wide + 2 * config.intermediate_size)
    there = sum(value.size for value in weights.values())
    if needed > there:
        raise InputError(
            f"upstream: {name!r} lacks weights of its config.json, which describes more than "
            f"{needed:,} numbers, but there are {there:,}; make or download it again."
        )


def _check_settings(config: Wav2Vec2Config) -> None:
    for name, largest in _LARGEST.items():
        _check_whole(getattr(config, name), name, largest)
    for name, largest in _LARGEST_IN_LISTS.items():
        values = getattr(config, name)
        check(0 < len(values) <= 32, name, "a list of up to 32 numbers", values)
        for value in values:
            _check_whole(value, name, largest)
    for name in _SHARES:
        value = getattr(config, name)
        share = isinstance(value, int | float) and 0 <= value <= 1
        check(share, name, "a number from 0 to 1", value)
    for name in _SWITCHES:
        check(isinstance(getattr(config, name), bool), name, "a bool", getattr(config, name))
    for name in ("num_attention_heads", "num_conv_pos_embedding_groups"):
        value = getattr(config, name)
        check(config.hidden_size % value == 0, name, "a divisor of hidden_size", value)
    labels = (config.id2label or {}).values()
    check(all(isinstance(each, str) for each in labels), "id2label", "names", [*labels])


def _check_whole(value: Any, name: str, largest: int) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= largest
    check(whole, name, f"a whole number from 1 to {largest:,}", value)


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
