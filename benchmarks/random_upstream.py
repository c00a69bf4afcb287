"""A wav2vec 2.0 with random weights and an emotion head, for benchmarks and tests."""

from pathlib import Path

_HEADS = 4


def make_upstream(
    *, out: Path, hidden_size: int, layers: int, channels: int, seed: int = 0
) -> None:
    """Makes a wav2vec 2.0 that has learned nothing, in Hugging Face form.

    Args:
        out: Folder for the checkpoint.
        hidden_size: Width of the transformer, a multiple of 4.
        layers: Number of transformer layers.
        channels: Channels of the seven convolutions.
        seed: Seed of the weights.
    """
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
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        layerdrop=0.0,
        apply_spec_augment=False,
        mask_time_prob=0.05,  # above 0, or the model has no mask
        mask_feature_prob=0.0,
    )
    with quiet_transformers():
        model = TFWav2Vec2ForSequenceClassification(config)
    model.build_in_name_scope()  # or else names of weights do not begin with the model's
    model.save_pretrained(out, safe_serialization=True)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(out)
