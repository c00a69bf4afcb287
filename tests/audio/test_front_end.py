import librosa
import numpy as np
import pytest
import soundfile
import tensorflow as tf

from ser_nsl.audio.front_end import log_mel, mel_filters
from ser_nsl.audio.settings import FrontEndConfig

RELATIVE = FrontEndConfig()
DEFAULT = FrontEndConfig(level="none")
NARROW = FrontEndConfig(8_000, 256, 100, 20, 80.0, 3_800.0, "none")
NO_POWER_OF_TWO = FrontEndConfig(window_samples=400, hop_samples=320, level="none")
PRIME = FrontEndConfig(window_samples=401, hop_samples=160, level="none")


def by_librosa(waveform: np.ndarray, config: FrontEndConfig) -> np.ndarray:
    power = librosa.feature.melspectrogram(
        y=waveform,
        sr=config.sample_rate_hz,
        n_fft=config.window_samples,
        hop_length=config.hop_samples,
        n_mels=config.mel_bins,
        fmin=config.low_hz,
        fmax=config.high_hz,
        center=False,
    )
    return librosa.power_to_db(power, top_db=None).T


NOISES, SILENCE = slice(0, 3), 8
TONES = {4: 440, 5: 3_000}


@pytest.fixture(scope="module")
def waveforms() -> np.ndarray:
    """Nine clips of a second: noise of three levels, four tones, a chirp, silence."""
    time = np.arange(16_000) / 16_000
    random = np.random.default_rng(0)
    clips = [random.normal(0, level, time.shape) for level in (1e-4, 0.01, 0.3)]
    clips += [0.5 * np.sin(2 * np.pi * hertz * time) for hertz in (50, 440, 3_000, 7_900)]
    clips += [np.sin(2 * np.pi * 3_000 * time**2), np.zeros_like(time)]
    return np.array(clips, np.float32)


def assert_close_above(decibels: float, logmel: np.ndarray, expected: np.ndarray) -> None:
    """Checks the bands that are not farther below the loudest of their frame."""
    near = expected > expected.max(axis=-1, keepdims=True) + decibels
    np.testing.assert_allclose(logmel[near], expected[near], rtol=0, atol=1e-3)


@pytest.mark.parametrize("config", [DEFAULT, NARROW, NO_POWER_OF_TWO, PRIME])
def test_equals_librosa_on_noise(config, waveforms):
    logmel = log_mel(tf.constant(waveforms[NOISES]), config).numpy()

    assert logmel.dtype == np.float32
    assert logmel.shape == (3, config.frames(16_000), config.mel_bins)
    expected = np.stack([by_librosa(waveform, config) for waveform in waveforms[NOISES]])
    np.testing.assert_allclose(logmel, expected, rtol=0, atol=1e-4)


def test_equals_librosa_on_tones(waveforms):
    expected = np.stack([by_librosa(waveform, DEFAULT) for waveform in waveforms])

    assert_close_above(-70, log_mel(waveforms, DEFAULT).numpy(), expected)


def test_equals_librosa_on_real_speech(shared_corpora):
    paths = sorted((shared_corpora / "emovo").glob("*.flac"))[::20]
    for path in paths:
        waveform = soundfile.read(path, dtype="float32")[0]
        logmel, expected = log_mel(waveform[np.newaxis], DEFAULT)[0], by_librosa(waveform, DEFAULT)

        assert_close_above(-70, logmel.numpy(), expected)
        np.testing.assert_allclose(logmel, expected, rtol=0, atol=0.01)
        assert np.abs(logmel - expected).mean() < 2e-5

    assert len(paths) > 20


def test_silence_is_the_floor_and_a_tone_is_in_its_band(waveforms):
    logmel = log_mel(waveforms, DEFAULT).numpy()

    np.testing.assert_allclose(logmel[SILENCE], -100.0, atol=1e-4)
    centres = librosa.mel_frequencies(66, fmin=0, fmax=8_000)[1:-1]
    for clip, hertz in TONES.items():
        band = logmel[clip].mean(axis=0).argmax()
        assert centres[band] == pytest.approx(hertz, rel=0.06)


def test_ten_times_the_amplitude_is_twenty_db(waveforms):
    quiet, loud = log_mel(waveforms[1:2], DEFAULT), log_mel(10 * waveforms[1:2], DEFAULT)

    np.testing.assert_allclose(loud - quiet, 20.0, atol=1e-3)


@pytest.fixture(scope="module")
def speech_like() -> np.ndarray:
    """A second of harmonics in syllables over faint noise, peak 0.5."""
    time = np.arange(16_000) / 16_000
    voice = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 40))
    syllables = np.maximum(0, np.sin(2 * np.pi * 3 * time)) ** 2
    clip = voice * syllables + np.random.default_rng(0).normal(0, 1e-3, time.shape)
    return (0.5 * clip / np.abs(clip).max()).astype(np.float32)


def test_levels_are_relative_to_the_mean_power_weighted_by_itself(speech_like):
    power = 10 ** (by_librosa(speech_like, DEFAULT) / 10)
    of_frames = power.mean(axis=1)
    level = np.average(of_frames, weights=of_frames)

    logmel = log_mel(speech_like[np.newaxis], RELATIVE)[0].numpy()

    np.testing.assert_allclose(logmel, 10 * np.log10(np.maximum(power / level, 1e-4)), atol=1e-3)
    assert logmel.min() < -39 < 0 < logmel.max() < 20


@pytest.mark.parametrize("decibels", [-80, -40, -10, 6])
def test_no_gain_changes_relative_levels(decibels, speech_like):
    gain = np.float32(10 ** (decibels / 20))

    as_is, changed = (
        log_mel(clip[np.newaxis], RELATIVE) for clip in (speech_like, gain * speech_like)
    )

    np.testing.assert_allclose(changed, as_is, rtol=0, atol=0.05)


def test_silence_around_speech_changes_no_relative_level_within_it(speech_like):
    silence = np.zeros(16_000, np.float32)  # a whole number of hops, but for the last
    quieter = np.concatenate([silence[:15_872], speech_like, silence])[np.newaxis]

    as_is = log_mel(speech_like[np.newaxis], RELATIVE)[0]
    surrounded = log_mel(quieter, RELATIVE)[0]

    np.testing.assert_allclose(surrounded[62 : 62 + len(as_is)], as_is, rtol=0, atol=1e-3)
    np.testing.assert_allclose(surrounded[:60], -40, rtol=0, atol=1e-4)


def test_relative_level_of_zeros_is_the_floor():
    np.testing.assert_allclose(log_mel(tf.zeros((2, 1_024)), RELATIVE), -40, rtol=0, atol=1e-4)


def test_each_clip_of_a_batch_has_its_own_level(speech_like):
    both = log_mel(np.stack([speech_like, speech_like[::-1] / 30]), RELATIVE)

    np.testing.assert_allclose(both[1], log_mel(speech_like[np.newaxis, ::-1], RELATIVE)[0], atol=1)


@pytest.mark.parametrize(("samples", "frames"), [(95_744, 373), (512, 1), (767, 1), (768, 2)])
def test_number_of_frames(samples, frames):
    assert log_mel(tf.zeros((1, samples)), DEFAULT).shape == (1, frames, 64)
    assert DEFAULT.frames(samples) == frames


def test_eager_graph_and_tf_data_agree(waveforms):
    eager = log_mel(waveforms, DEFAULT).numpy()

    graph = tf.function(lambda waveform: log_mel(waveform, DEFAULT))(waveforms)
    dataset = tf.data.Dataset.from_tensor_slices(waveforms).batch(9)
    (inside,) = dataset.map(lambda waveform: log_mel(waveform, DEFAULT))

    assert_close_above(-70, graph.numpy(), eager)
    assert_close_above(-70, inside.numpy(), eager)


@pytest.mark.parametrize("config", [RELATIVE, DEFAULT, NO_POWER_OF_TWO, PRIME])
def test_no_operator_of_windows_is_foreign_to_delegates(config):
    """XNNPACK and others leave gathering to the interpreter, in between their own parts."""
    graph = tf.function(lambda waveform: log_mel(waveform, config)).get_concrete_function(
        tf.TensorSpec((1, 16_000), tf.float32)
    )

    kinds = {operation.type for operation in graph.graph.get_operations()}
    assert not {kind for kind in kinds if "Gather" in kind or "FFT" in kind}


@pytest.mark.parametrize("batch", [1, 7])
def test_batch_size_changes_only_the_rounding(batch, waveforms):
    together = log_mel(waveforms, DEFAULT).numpy()
    parts = [log_mel(waveforms[i : i + batch], DEFAULT) for i in range(0, 9, batch)]

    # The order of sums in a matrix product depends on its size and on the CPU.
    assert_close_above(-70, np.concatenate(parts), together)


def test_unknown_sizes_inside_a_graph(waveforms):
    compute = tf.function(
        lambda waveform: log_mel(waveform, DEFAULT),
        input_signature=[tf.TensorSpec((None, None), tf.float32)],
    )

    few = waveforms[:2, :4_000]
    assert_close_above(-70, compute(few).numpy(), log_mel(few, DEFAULT).numpy())


@pytest.mark.parametrize(
    ("waveform", "received"),
    [
        (np.zeros((1, 600)), r"float64 .*\(1, 600\)"),
        (np.zeros(600, np.float32), r"float32 .*\(600,\)"),
    ],
)
def test_other_types_and_ranks_are_errors(waveform, received):
    with pytest.raises(ValueError, match=rf"waveform .*float32.*{received}"):
        log_mel(waveform, DEFAULT)


@pytest.mark.parametrize("config", [DEFAULT, NARROW])
def test_filters_are_librosas(config):
    filters = mel_filters(config)

    assert filters.dtype == np.float32
    assert filters.shape == (config.window_samples // 2 + 1, config.mel_bins)
    power = np.random.default_rng(0).random(len(filters)).astype(np.float32)
    expected = librosa.feature.melspectrogram(
        S=power[:, np.newaxis],
        sr=config.sample_rate_hz,
        n_fft=config.window_samples,
        n_mels=config.mel_bins,
        fmin=config.low_hz,
        fmax=config.high_hz,
    )
    np.testing.assert_allclose(power @ filters, expected[:, 0], rtol=1e-5)
