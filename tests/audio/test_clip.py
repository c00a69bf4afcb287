import io
import os
import struct
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

from ser_nsl.audio import clip as audio
from ser_nsl.audio.clip import fit_length, read_audio, read_batches, window_starts
from ser_nsl.errors import InputError

HERTZ = 440
SECONDS = 0.6


def tone(rate: int, channels: int = 1) -> np.ndarray:
    time = np.arange(round(SECONDS * rate)) / rate
    loudness = 0.5 / np.arange(1, channels + 1)
    return np.sin(2 * np.pi * HERTZ * time)[:, np.newaxis] * loudness


def encoded(samples: np.ndarray, rate: int, form: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()


CONTAINERS = [
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "FLOAT"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]


@pytest.mark.parametrize(
    ("form", "subtype", "rate", "channels"),
    [(*container, 48_000, 2) for container in CONTAINERS]
    + [("WAV", "PCM_16", 16_000, 1), ("WAV", "PCM_16", 8_000, 2)],
)
def test_every_container_gives_the_tone_that_librosa_loads(form, subtype, rate, channels, tmp_path):
    path = tmp_path / f"clip.{form.lower()}"
    path.write_bytes(encoded(tone(rate, channels), rate, form, subtype))

    waveform = read_audio(path)

    assert waveform.dtype == np.float32
    assert waveform.ndim == 1
    assert len(waveform) == pytest.approx(SECONDS * 16_000, rel=0.1)  # MP3 pads
    assert np.abs(waveform[1000:-1000]).max() == pytest.approx(
        tone(rate, channels).mean(axis=1).max(), rel=0.1
    )
    spectrum = np.abs(np.fft.rfft(waveform, 16_000))
    assert spectrum.argmax() == pytest.approx(HERTZ, abs=2)
    np.testing.assert_allclose(waveform, librosa.load(path, sr=16_000)[0], atol=1e-6)


def test_odd_rates_give_other_rates_on_demand(tmp_path):
    rate, path = 11_025, tmp_path / "clip.wav"
    path.write_bytes(encoded(tone(rate), rate, "WAV", "PCM_16"))

    waveform = read_audio(path, sample_rate_hz=8_000)

    assert len(waveform) == pytest.approx(SECONDS * 8_000, abs=1)
    np.testing.assert_allclose(waveform, librosa.load(path, sr=8_000)[0], atol=1e-6)


def test_real_originals_equal_librosa(shared_corpora):
    paths = sorted((shared_corpora / "ravdess_originals").rglob("*.wav"))

    assert {soundfile.info(path).channels for path in paths} == {1, 2}
    for path in paths:
        np.testing.assert_allclose(
            read_audio(path), librosa.load(path, sr=16_000)[0], atol=1e-6, err_msg=path.name
        )


def test_wav_of_a_writer_that_could_not_seek_is_whole(tmp_path):
    data = bytearray(encoded(tone(16_000), 16_000, "WAV", "PCM_16"))
    data[4:8] = data[40:44] = struct.pack("<I", 0xFFFFFFFF)
    path = tmp_path / "streamed.wav"
    path.write_bytes(data)

    assert len(read_audio(path)) == SECONDS * 16_000


TONE = tone(16_000)
WITH_NAN, WITH_INFINITY = TONE.copy(), TONE.copy()
WITH_NAN[500], WITH_INFINITY[500] = np.nan, np.inf
OPPOSITE = np.concatenate([TONE, -TONE], axis=1)
BAD = {
    "not_audio.wav": (b"not audio at all" * 100, "decoded"),
    "empty.mp3": (b"", "is empty"),
    "pointer.wav": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
    "zero_length.wav": (encoded(TONE[:0], 16_000, "WAV", "PCM_16"), "no samples"),
    "zero_length.flac": (encoded(TONE[:0], 16_000, "FLAC", "PCM_16"), ""),
    "vanishes.wav": (encoded(TONE[1:2], 96_000, "WAV", "PCM_16"), "silent"),
    "silent.wav": (encoded(TONE * 1e-5, 16_000, "WAV", "FLOAT"), "silent"),
    "one_value.wav": (encoded(TONE * 0 + 0.3, 44_100, "WAV", "PCM_16"), "silent"),
    "cancels.wav": (encoded(OPPOSITE, 16_000, "WAV", "PCM_16"), "cancel each other out"),
    "nearly_cancels.wav": (encoded(OPPOSITE * [1, 0.9], 16_000, "WAV", "FLOAT"), "cancel"),
    "integers.wav": (encoded(TONE * 32767, 16_000, "WAV", "FLOAT"), "peak of 16383.5"),
    "kilohertz.wav": (encoded(TONE, 16, "WAV", "PCM_16"), "received 16"),
    "many.wav": (encoded(np.tile(TONE, 33), 16_000, "WAV", "PCM_16"), "received 33"),
    "nan.wav": (encoded(WITH_NAN, 16_000, "WAV", "FLOAT"), "NaN"),
    "infinite.wav": (encoded(WITH_INFINITY, 16_000, "WAV", "FLOAT"), "infinite"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_an_error_with_its_name_and_the_rule(name, tmp_path):
    data, rule = BAD[name]
    path = tmp_path / name
    path.write_bytes(data)

    with pytest.raises(InputError) as error:
        read_audio(path)

    assert str(error.value).startswith(f"{path}: ")
    assert rule in str(error.value)
    assert str(error.value).count(name) == 1


@pytest.mark.parametrize("missing_bytes", [8, 3000])
@pytest.mark.parametrize(("form", "subtype"), CONTAINERS)  # this MP3 states its length
def test_cut_file_is_an_error(form, subtype, missing_bytes, tmp_path):
    data = encoded(tone(16_000), 16_000, form, subtype)
    path = tmp_path / f"cut.{form.lower()}"
    path.write_bytes(data[:-missing_bytes])

    with pytest.raises(InputError, match=r"cut\..*: .*(cut off|decoded)"):
        read_audio(path)


@pytest.mark.parametrize("kept", [4, 26, 27, 31])
def test_ogg_cut_in_the_header_of_its_last_page_is_an_error(kept, tmp_path):
    data = encoded(tone(16_000), 16_000, "OGG", "VORBIS")
    path = tmp_path / "cut.ogg"
    path.write_bytes(data[: data.rindex(b"OggS") + kept])

    with pytest.raises(InputError, match=r"cut\.ogg: .*cut off"):
        read_audio(path)


def test_surround_is_mixed_by_its_layout_in_every_container(tmp_path):
    left, right, centre, low, left_back, right_back = range(6)
    levels = {left: 0.207, right: 0.207, centre: 0.293, low: 0, left_back: 0.146, right_back: 0.146}
    in_ogg = [left, centre, right, left_back, right_back, low]
    for form, subtype, order in [("WAV", "PCM_16", range(6)), ("OGG", "VORBIS", in_ogg)]:
        samples = np.zeros((16_000, 6))
        for channel in range(6):  # each has its tone
            tone_hertz = 100 * (channel + 1)
            samples[:, channel] = np.sin(2 * np.pi * tone_hertz * np.arange(16_000) / 16_000) / 2
        path = tmp_path / f"surround.{form.lower()}"
        path.write_bytes(encoded(samples[:, order], 16_000, form, subtype))

        spectrum = np.abs(np.fft.rfft(read_audio(path))) / 16_000 * 4

        for channel, level in levels.items():
            assert spectrum[100 * (channel + 1)] == pytest.approx(level, abs=0.02)


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"none\.wav"):
        read_audio(tmp_path / "none.wav")


def test_quiet_speech_is_not_silence(tmp_path):
    soundfile.write(tmp_path / "quiet.wav", tone(16_000) * 0.001, 16_000, subtype="PCM_16")

    assert np.abs(read_audio(tmp_path / "quiet.wav")).max() == pytest.approx(0.0005, abs=5e-5)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [(2, [1, 2]), (3, [1, 2, 3]), (5, [1, 2, 3, 1, 2]), (7, [1, 2, 3, 1, 2, 3, 1])],
)
def test_fit_length_cuts_or_repeats(samples, expected):
    fitted = fit_length(np.array([1, 2, 3], np.float32), samples)

    assert fitted.tolist() == expected
    assert fitted.dtype == np.float32


@pytest.mark.parametrize(
    ("length", "starts"), [(4, [0]), (5, [0, 1]), (8, [0, 4]), (10, [0, 3, 6]), (11, [0, 4, 7])]
)
def test_windows_cover_a_clip_at_even_distances(length, starts):
    assert window_starts(length, 4).tolist() == starts


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    """Clip `i` has samples of one size, which shows its place in a batch."""
    folder = tmp_path_factory.mktemp("clips")
    paths = [folder / f"{i}.wav" for i in range(16)]
    for i, path in enumerate(paths):
        samples = np.where(np.arange(50 + i) % 2, -1, 1) * (i + 1) / 32
        soundfile.write(path, samples, 16_000, subtype="PCM_16")
    return paths


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_batches_keep_the_order_and_the_last_clips(batch, clips):
    batches = list(read_batches(clips, 60, batch=batch))

    sizes = [min(batch, 16 - start) for start in range(0, 16, batch)]
    assert [part.shape for part in batches] == [(size, 60) for size in sizes]
    assert {part.dtype for part in batches} == {np.dtype(np.float32)}
    expected = np.repeat(np.arange(1, 17)[:, np.newaxis] / 32, 60, axis=1)
    assert np.array_equal(np.abs(np.concatenate(batches)), expected)


def test_batches_at_another_rate(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(encoded(tone(16_000), 16_000, "WAV", "PCM_16"))

    (batch,) = read_batches([path], 4_800, batch=4, sample_rate_hz=8_000)

    np.testing.assert_array_equal(batch[0], read_audio(path, sample_rate_hz=8_000))


def test_bad_clip_among_batches_is_an_error_in_its_turn(clips, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"")
    batches = read_batches([*clips[:4], bad, *clips[4:]], 60, batch=2)

    assert [len(next(batches)), len(next(batches))] == [2, 2]
    with pytest.raises(InputError, match=r"bad\.wav"):
        next(batches)


def test_clip_that_is_cut_before_its_sound_is_an_error(tmp_path):
    path = tmp_path / "late.wav"
    soundfile.write(path, np.pad(tone(16_000)[:, 0], (8_000, 0)), 16_000)

    assert len(list(read_batches([path], 8_100, batch=1))) == 1
    with pytest.raises(InputError, match=r"late\.wav: .* 0\.5 s"):
        list(read_batches([path], 8_000, batch=1))


def test_batches_are_read_ahead_but_not_all_at_once(clips, monkeypatch):
    read = []
    real = audio.read_audio
    monkeypatch.setattr(
        audio, "read_audio", lambda path, **rate: read.append(path) or real(path, **rate)
    )
    batches = read_batches(clips, 60, batch=2)
    next(batches)
    batches.close()

    assert sorted(read) == sorted(clips[:8])  # two that were taken, three batches ahead


def test_name_that_is_not_valid_text(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.resize([0.5, -0.5], 800), 16_000)
    path = (tmp_path / "a.wav").rename(tmp_path / os.fsdecode(b"\xff.wav"))

    assert len(read_audio(path)) == 800
