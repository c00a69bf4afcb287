from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from transformers import Wav2Vec2FeatureExtractor

from ser_nsl.upstream.checkpoint import load_upstream
from ser_nsl.upstream.wav2vec2 import frame_features, hidden_states, standardise

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module", params=["group", "layer", "hubert"])
def upstream(request):
    """The network of each norm form, and its input settings."""
    encoder = load_upstream(str(FIXTURES / request.param)).encoder
    return encoder.body, encoder.extractor


@pytest.fixture(scope="module")
def waveform() -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).normal(0.1, 0.2, (3, 4_000)), tf.float32)


def test_standardise_by_hand():
    # Mean 3 and deviation 2; mean -1 and deviation 0.5.
    waveform = tf.constant([[1.0, 5, 1, 5], [-0.5, -1.5, -1.5, -0.5]])

    found = standardise(waveform, Wav2Vec2FeatureExtractor(do_normalize=True))

    np.testing.assert_allclose(found, [[-1, 1, -1, 1], [1, -1, -1, 1]], atol=1e-6)
    unchanged = standardise(waveform, Wav2Vec2FeatureExtractor(do_normalize=False))
    np.testing.assert_array_equal(unchanged, waveform)


def test_standardise_as_transformers():
    waveform = np.random.default_rng(0).normal(0.1, 1e-3, (3, 500)).astype(np.float32)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)

    expected = extractor(list(waveform), sampling_rate=16_000, return_tensors="np").input_values

    np.testing.assert_allclose(standardise(waveform, extractor), expected, atol=1e-4)


def test_both_halves_make_the_whole(upstream, waveform):
    body, extractor = upstream
    whole = body(standardise(waveform, extractor), output_hidden_states=True)

    features = frame_features(body, waveform, extractor)
    states = hidden_states(body, features)

    assert features.shape == (3, 12, 8)
    assert len(states) == 3
    np.testing.assert_allclose(states[-1], whole.last_hidden_state, atol=1e-5)
    for state, expected in zip(states, whole.hidden_states, strict=True):
        assert state.shape == (3, 12, 16)
        np.testing.assert_allclose(state, expected, atol=1e-5)


def test_masked_frames_are_replaced_by_the_learned_mask(upstream, waveform):
    body, extractor = upstream
    features = frame_features(body, waveform, extractor)
    masked = np.zeros((3, 12), bool)
    masked[0, 3:6] = masked[2, 9] = True

    found = hidden_states(body, features, masked=tf.constant(masked))[-1]

    # What lies under the mask is not seen, what lies beside it is.
    noise = np.random.default_rng(1).normal(size=features.shape)
    hidden = hidden_states(
        body, tf.where(masked[..., None], noise, features), masked=tf.constant(masked)
    )[-1]
    np.testing.assert_array_equal(hidden, found)
    projected = body.feature_projection(features)
    projected = (projected[0] if isinstance(projected, tuple) else projected).numpy()
    projected[masked] = body.masked_spec_embed
    expected = body.encoder(tf.constant(projected), return_dict=True).last_hidden_state
    np.testing.assert_allclose(found, expected, atol=1e-5)
    unmasked = hidden_states(body, features)[-1].numpy()
    np.testing.assert_allclose(found[1], unmasked[1], atol=1e-5)
    assert np.abs(found[0] - unmasked[0]).max() > 1e-2


def test_dropout_takes_part_in_training_only(upstream, waveform):
    body, extractor = upstream
    features = frame_features(body, waveform, extractor)
    first, second = (hidden_states(body, features)[-1].numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)
    first, second = (hidden_states(body, features, training=True)[0].numpy() for _ in range(2))
    assert not np.array_equal(first, second)
