"""The stage that makes a small wav2vec 2.0 with random weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage

_HEADS = 4


@stage(inputs=(), makes="folder")
def make_upstream(
    *,
    out: Path,
    hidden_size: int = 128,
    layers: int = 2,
    channels: int = 64,
    dropout: float = 0.0,
    mask_share: float = 0.0,
    seed: int = 0,
) -> Mapping[str, Any]:
    """Makes a small wav2vec 2.0 with random weights, to try the chain without a network.

    It has learned nothing: fine-tune it with --config.no-freeze-feature-encoder and a higher
    learning rate, and expect less than from a pre-trained checkpoint.

    Args:
        out: Folder for the checkpoint in Hugging Face form.
        hidden_size: Width of the transformer, a multiple of 4.
        layers: Number of transformer layers.
        channels: Channels of the seven convolutions.
        dropout: Share of activations to drop in training, 0 up to 1.
        mask_share: Share of time, and of features, that SpecAugment masks in fine-tuning.
        seed: Seed of the weights.

    Returns:
        Number of parameters.

    Raises:
        InputError: If a size is not positive or not divisible by the number of heads.

    Example:
        >>> made = make_upstream(out=Path("random"), hidden_size=16, layers=1, channels=8)
        >>> made.counts
        {'parameters': 13074}
    """
    if hidden_size % _HEADS or min(hidden_size, layers, channels) < 1:
        raise InputError(
            f"hidden_size, layers, channels: must be positive, hidden_size a multiple of {_HEADS}; "
            f"received {hidden_size}, {layers}, {channels}."
        )
    from transformers import (
        TFWav2Vec2ForSequenceClassification,
        Wav2Vec2Config,
        Wav2Vec2FeatureExtractor,
    )
    from transformers.modeling_tf_utils import keras

    from ser_nsl.upstream.checkpoint import quiet_transformers

    keras.utils.set_random_seed(seed)
    config = Wav2Vec2Config(
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=_HEADS,
        intermediate_size=3 * hidden_size,
        do_stable_layer_norm=True,  # learns from random weights, where the other order does not
        conv_dim=(channels,) * 7,
        # Not grouped: TensorFlow trains grouped convolutions on a CPU five times more slowly.
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=1,
        hidden_dropout=dropout,
        attention_dropout=dropout,
        activation_dropout=dropout,
        feat_proj_dropout=0.0,
        layerdrop=0.0,
        apply_spec_augment=mask_share > 0,
        mask_time_prob=mask_share or 0.05,  # above 0, or the model has no mask for pre-training
        mask_feature_prob=mask_share,
    )
    with quiet_transformers():
        model = TFWav2Vec2ForSequenceClassification(config)
    model.build_in_name_scope()  # or else names of weights do not begin with the model's
    model.save_pretrained(out, safe_serialization=True)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(out)
    return {"parameters": model.num_parameters()}
