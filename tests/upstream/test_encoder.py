from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from transformers import Wav2Vec2FeatureExtractor

from ser_nsl.upstream.checkpoint import load_upstream
from ser_nsl.upstream.encoder import frame_features, hidden_states, random_spans, standardise

SEED = np.array([0, 0])

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module", params=["group", "layer"])
def upstream(request):
    """A model of each norm form, and its input settings."""
    return load_upstream(str(FIXTURES / request.param))


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
    model, extractor = upstream
    whole = model.wav2vec2(standardise(waveform, extractor), output_hidden_states=True)

    features = frame_features(model, waveform, extractor)
    states = hidden_states(model, features)

    assert features.shape == (3, 12, 8)
    assert len(states) == 3
    np.testing.assert_allclose(states[-1], whole.last_hidden_state, atol=1e-5)
    for state, expected in zip(states, whole.hidden_states, strict=True):
        assert state.shape == (3, 12, 16)
        np.testing.assert_allclose(state, expected, atol=1e-5)


def test_masked_frames_are_replaced_by_the_learned_mask(upstream, waveform):
    model, extractor = upstream
    features = frame_features(model, waveform, extractor)
    masked = np.zeros((3, 12), bool)
    masked[0, 3:6] = masked[2, 9] = True

    found = hidden_states(model, features, masked=tf.constant(masked))[-1]

    # What lies under the mask is not seen, what lies beside it is.
    noise = np.random.default_rng(1).normal(size=features.shape)
    hidden = hidden_states(
        model, tf.where(masked[..., None], noise, features), masked=tf.constant(masked)
    )[-1]
    np.testing.assert_array_equal(hidden, found)
    projected, _ = model.wav2vec2.feature_projection(features)
    projected = projected.numpy()
    projected[masked] = model.wav2vec2.masked_spec_embed
    expected = model.wav2vec2.encoder(tf.constant(projected), return_dict=True).last_hidden_state
    np.testing.assert_allclose(found, expected, atol=1e-5)
    unmasked = hidden_states(model, features)[-1].numpy()
    np.testing.assert_allclose(found[1], unmasked[1], atol=1e-5)
    assert np.abs(found[0] - unmasked[0]).max() > 1e-2


def test_dropout_takes_part_in_training_only(upstream, waveform):
    model, extractor = upstream
    features = frame_features(model, waveform, extractor)
    first, second = (hidden_states(model, features)[-1].numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)
    first, second = (hidden_states(model, features, training=True)[0].numpy() for _ in range(2))
    assert not np.array_equal(first, second)


def runs(row: np.ndarray) -> list[int]:
    """Lengths of the stretches of True."""
    return [len(run) for run in "".join("x" if on else " " for on in row).split()]


def test_spans_cover_their_share_in_stretches():
    spans = random_spans((tf.constant(200), tf.constant(500)), 0.2, 10, seed=SEED)

    assert spans.dtype == tf.bool
    assert spans.shape == (200, 500)
    spans = spans.numpy()
    # Of n columns each begins a span with probability share / length: 1 - (1 - 0.02)^10.
    assert spans[:, 10:].mean() == pytest.approx(1 - 0.98**10, abs=0.01)
    # Runs are spans or several that overlap; only the end cuts one short.
    assert min(length for row in spans[:, :-9] for length in runs(np.append(row, True))[:-1]) == 10
    assert len({row.tobytes() for row in spans}) == 200


@pytest.mark.parametrize("length", [1, 3])
def test_share_of_one_can_cover_all(length):
    assert random_spans((4, 7), float(length), length, seed=SEED).numpy().all()
    assert not random_spans((4, 7), 0.0, length, seed=SEED).numpy().any()


def test_spans_come_from_the_seed():
    def draw(seed: int) -> bytes:
        return random_spans((3, 100), 0.3, 5, seed=np.array([seed, 0])).numpy().tobytes()

    assert draw(1) == draw(1) != draw(2)
