"""The settings of a checkpoint, checked before anything is built from them."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    PretrainedConfig,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from ser_nsl.audio.clip import SAMPLE_RATE_HZ
from ser_nsl.errors import InputError
from ser_nsl.pipeline.settings import check

EXTRACTOR_FILES = ("preprocessor_config.json", "processor_config.json")
"""Files with input settings, of transformers 4 and 5, in the order of preference."""

_ARCHITECTURES = {"wav2vec2": "a wav2vec 2.0", "hubert": "a HuBERT", "whisper": "a Whisper"}

# The largest models that were published have 1,920 wide outputs and 48 layers.
_LARGEST_WAV2VEC2 = {
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
_LARGEST_WHISPER = {
    "d_model": 8_192,
    "encoder_ffn_dim": 65_536,
    "encoder_layers": 512,
    "encoder_attention_heads": 512,
    "max_source_positions": 100_000,
    "num_mel_bins": 1_024,
}
_LARGEST_IN_LISTS = {"conv_dim": 8_192, "conv_kernel": 1_024, "conv_stride": 1_024}
_SHARES_WAV2VEC2 = (
    *("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"),
    *("final_dropout", "layerdrop", "mask_time_prob", "mask_feature_prob"),
)
_SHARES_WHISPER = ("dropout", "attention_dropout", "activation_dropout")
_SWITCHES = ("do_stable_layer_norm", "conv_bias", "apply_spec_augment")
_LARGEST_FRAME = {
    "n_fft": 16_384,
    "hop_length": 16_384,
    "feature_size": 1_024,
    "chunk_length": 3_600,
}


def read_config(folder: Path, name: str) -> PretrainedConfig:
    """Reads `config.json`.

    Args:
        folder: Folder of the checkpoint.
        name: Name of the checkpoint in messages.

    Returns:
        The settings of a wav2vec 2.0, a HuBERT or a Whisper.

    Raises:
        InputError: If the file is missing or damaged, a setting has another type or is out of its
            range, it is of another architecture, or TensorFlow would compute other numbers than
            PyTorch.
    """
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
            (_check_whisper if kind == "whisper" else _check_wav2vec2)(config)
    if kind not in _ARCHITECTURES:
        known = ", ".join(f"{title} ({each})" for each, title in _ARCHITECTURES.items())
        raise InputError(f"upstream: {name!r} is a {kind}; it must be one of: {known}.")
    if kind != "whisper":
        _check_computed_alike(config, name)
    return config


def read_extractor(folder: Path, config: PretrainedConfig, name: str) -> Any:
    """Reads how clips become inputs: `preprocessor_config.json`, or transformers 5's own file.

    Args:
        folder: Folder of the checkpoint.
        config: Its settings.
        name: Name of the checkpoint in messages.

    Returns:
        `Wav2Vec2FeatureExtractor`, by default with the published settings, or
        `WhisperFeatureExtractor`.

    Raises:
        InputError: If the file is damaged, the sample rate is another than ours, or a Whisper has
            no such file or another number of mels.
    """
    values: Any = None
    for file in EXTRACTOR_FILES:
        if values is None and (folder / file).is_file():
            with _readable(file, name):
                values = json.loads((folder / file).read_text(encoding="utf-8"))
                if not isinstance(values, dict):
                    raise TypeError("it must hold settings by name")
                if file == EXTRACTOR_FILES[1]:  # beside the settings of the tokenizer and all else
                    values = values.get("feature_extractor")
                _check_input(values or {})
    is_whisper = config.model_type == "whisper"
    if values is None and is_whisper:
        raise InputError(
            f"upstream: {name!r} lacks {EXTRACTOR_FILES[0]}, the settings of Whisper's log Mel; "
            "download it from the same place as config.json."
        )
    values = values or {}
    rate = values.get("sampling_rate", SAMPLE_RATE_HZ)
    if rate != SAMPLE_RATE_HZ:
        raise InputError(
            f"upstream: the sampling rate of {name!r} must be {SAMPLE_RATE_HZ} Hz; it is {rate} Hz."
        )
    if not is_whisper:
        return Wav2Vec2FeatureExtractor(do_normalize=values.get("do_normalize", True))
    frame = {key: values[key] for key in _LARGEST_FRAME if key in values}
    extractor = WhisperFeatureExtractor(**frame)
    if extractor.feature_size != config.num_mel_bins:
        raise InputError(
            f"upstream: config.json of {name!r} asks for {config.num_mel_bins} mels and its "
            f"{EXTRACTOR_FILES[0]} makes {extractor.feature_size}; download both again."
        )
    return extractor


def check_size(config: PretrainedConfig, weights: Mapping[str, Any], name: str) -> None:
    """Refuses settings of a much larger model than the weights are of, before it is built.

    Args:
        config: The settings.
        weights: Arrays by name.
        name: Name of the checkpoint in messages.

    Raises:
        InputError: If the layers alone need more numbers than there are.
    """
    if config.model_type == "whisper":
        layers, wide, inner = config.encoder_layers, config.d_model, config.encoder_ffn_dim
    else:
        layers, wide = config.num_hidden_layers, config.hidden_size
        inner = config.intermediate_size
    needed = layers * wide * (4 * wide + 2 * inner)
    there = sum(value.size for value in weights.values())
    if needed > there:
        raise InputError(
            f"upstream: {name!r} lacks weights of its config.json, which describes more than "
            f"{needed:,} numbers, but there are {there:,}; make or download it again."
        )


def _check_computed_alike(config: PretrainedConfig, name: str) -> None:
    """Refuses settings with which TensorFlow computes other numbers than PyTorch."""
    for setting, needed, supported in (
        ("conv_dim", "the same in all layers", len(set(config.conv_dim)) == 1),
        ("layer_norm_eps", "1e-05", config.layer_norm_eps == 1e-5),
        ("add_adapter", "false", not getattr(config, "add_adapter", False)),
        ("adapter_attn_dim", "null", getattr(config, "adapter_attn_dim", None) is None),
        ("use_weighted_layer_sum", "false", not config.use_weighted_layer_sum),
        ("feat_proj_layer_norm", "true", getattr(config, "feat_proj_layer_norm", True)),
        ("conv_pos_batch_norm", "false", not getattr(config, "conv_pos_batch_norm", False)),
    ):
        if not supported:
            raise InputError(
                f"upstream: {setting} of {name!r} must be {needed}, or TensorFlow computes other "
                f"numbers than PyTorch; received {getattr(config, setting)}. Choose another "
                "checkpoint."
            )


def _check_wav2vec2(config: PretrainedConfig) -> None:
    _check_numbers(config, _LARGEST_WAV2VEC2, _SHARES_WAV2VEC2)
    for name, largest in _LARGEST_IN_LISTS.items():
        values = getattr(config, name)
        check(0 < len(values) <= 32, name, "a list of up to 32 numbers", values)
        for value in values:
            _check_whole(value, name, largest)
    for name in _SWITCHES:
        check(isinstance(getattr(config, name), bool), name, "a bool", getattr(config, name))
    for name in ("num_attention_heads", "num_conv_pos_embedding_groups"):
        value = getattr(config, name)
        check(config.hidden_size % value == 0, name, "a divisor of hidden_size", value)
    labels = (config.id2label or {}).values()
    check(all(isinstance(each, str) for each in labels), "id2label", "names", [*labels])


def _check_whisper(config: PretrainedConfig) -> None:
    _check_numbers(config, _LARGEST_WHISPER, _SHARES_WHISPER)
    heads = config.encoder_attention_heads
    check(config.d_model % heads == 0, "encoder_attention_heads", "a divisor of d_model", heads)
    scales = config.scale_embedding
    check(isinstance(scales, bool), "scale_embedding", "a bool", scales)


def _check_numbers(
    config: PretrainedConfig, largest: Mapping[str, int], shares: tuple[str, ...]
) -> None:
    for name, most in largest.items():
        _check_whole(getattr(config, name), name, most)
    for name in shares:
        value = getattr(config, name)
        share = isinstance(value, int | float) and 0 <= value <= 1
        check(share, name, "a number from 0 to 1", value)


def _check_input(values: Mapping[str, Any]) -> None:
    standardises = values.get("do_normalize", True)
    check(isinstance(standardises, bool), "do_normalize", "a bool", standardises)
    for name, largest in _LARGEST_FRAME.items():
        _check_whole(values.get(name, 1), name, largest)


def _check_whole(value: Any, name: str, largest: int) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= largest
    check(whole, name, f"a whole number from 1 to {largest:,}", value)


@contextlib.contextmanager
def _readable(file: str, name: str) -> Iterator[None]:
    """Turns errors of reading a file into one that names it."""
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(
            f"upstream: {file} of {name!r} cannot be read; download it again. "
            f"({type(error).__name__}: {error})"
        ) from error
