"""Measures decoding and log Mel, and compares our decoder with that of tensorflow-io.

    python -m benchmarks.decoding --audio-dir corpora/ravdess \
        --originals corpora/ravdess_originals --out results/decoding

`--audio-dir` holds clips of any corpus, `--originals` WAV files of a rate other than 16 kHz.
"""

import resource
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.signal import correlate
from tabulate import tabulate

from benchmarks.measuring import in_new_process, machine, write_results
from ser_nsl.cli import run_function

_CLIP_SAMPLES = 64_000
_BATCH = 16
_TONES_HZ = (1_000, 6_000, 7_000, 7_500)


def main(*, audio_dir: Path, originals: Path, out: Path) -> str:
    """Measures speed, memory and exactness of decoding and log Mel.

    Args:
        audio_dir: Clips for speed and memory.
        originals: WAV files of another rate than 16 kHz, for exactness.
        out: Folder for `decoding.md` and `decoding.json`.
    """
    clips = sorted(path for path in audio_dir.rglob("*") if path.suffix in (".flac", ".wav"))
    measured = {
        "machine": machine(),
        "speed": [
            in_new_process(front_end_speed, clips[: len(clips) // 4]),
            in_new_process(front_end_speed, clips),
        ],
        "decoders": in_new_process(decoder_speed, clips[:400]),
        "files": in_new_process(exactness, sorted(originals.glob("*.wav"))),
        "tones": in_new_process(tone_levels),
    }
    text = describe(measured)
    write_results(out, "decoding", measured, text)
    return text


def front_end_speed(clips: Sequence[Path]) -> dict[str, float]:
    """Times clip to log Mel as `extract_features` does, after one batch of warm-up."""
    import tensorflow as tf

    from ser_nsl.audio.clip import read_batches
    from ser_nsl.audio.front_end import log_mel
    from ser_nsl.audio.settings import FrontEndConfig

    compute = tf.function(
        lambda waveform: log_mel(waveform, FrontEndConfig()), reduce_retracing=True
    )
    for waveforms in read_batches(clips[: 2 * _BATCH + 1], _CLIP_SAMPLES, batch=_BATCH):
        compute(waveforms)
    start = time.perf_counter()
    for waveforms in read_batches(clips, _CLIP_SAMPLES, batch=_BATCH):
        compute(waveforms)
    seconds = time.perf_counter() - start
    audio = duration(clips)
    return {
        "clips": len(clips),
        "audio_seconds": round(audio),
        "seconds": round(seconds, 2),
        "times_real_time": round(audio / seconds),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def decoder_speed(clips: Sequence[Path]) -> list[dict[str, object]]:
    """Times decoding alone, on one thread: libsndfile against tensorflow-io."""
    import tensorflow as tf
    import tensorflow_io as tfio

    from ser_nsl.audio.clip import read_audio

    flac = [path for path in clips if path.suffix == ".flac"]
    decoders = {
        "libsndfile + soxr (ours)": read_audio,
        "tensorflow-io": lambda path: tfio.audio.decode_flac(
            tf.io.read_file(str(path)), dtype=tf.int16
        ),
    }
    audio, rows = duration(flac), []
    for name, decode in decoders.items():
        decode(flac[0])
        start = time.perf_counter()
        for path in flac:
            decode(path)
        seconds = time.perf_counter() - start
        rows.append({"decoder": name, "times_real_time": round(audio / seconds)})
    return rows


def exactness(originals: Sequence[Path]) -> list[dict[str, object]]:
    """Finds the largest difference from librosa.load at 16 kHz, for both decoders."""
    import librosa
    import tensorflow as tf
    import tensorflow_io as tfio

    from ser_nsl.audio.clip import read_audio

    rows = []
    for path in originals:
        reference, _ = librosa.load(path, sr=16_000)
        try:
            decoded = tfio.audio.decode_wav(tf.io.read_file(str(path)), dtype=tf.int16)
            rate = librosa.get_samplerate(path)
            mono = tf.reduce_mean(tf.cast(decoded, tf.float32) / 32768.0, axis=1, keepdims=True)
            theirs = tfio.audio.resample(mono, rate, 16_000).numpy()[:, 0]
            lag = int(np.argmax(correlate(theirs, reference, "full"))) - len(reference) + 1
            their_difference = (
                f"{difference(theirs, reference):.1e}; {difference(theirs[lag:], reference):.1e} "
                f"without its delay of {lag} samples"
            )
        except tf.errors.OpError as error:
            reason = str(error.message).split("}} ")[-1].split(" [Op")[0]
            their_difference = f"refused: {reason}"
        rows.append(
            {
                "file": path.name,
                "peak": f"{np.abs(reference).max():.3f}",
                "ours": f"{difference(read_audio(path), reference):.1e}",
                "tensorflow-io": their_difference,
            }
        )
    return rows


def tone_levels() -> list[dict[str, object]]:
    """Level of pure tones after resampling from 48 to 16 kHz, relative to the tone."""
    import tensorflow_io as tfio

    from ser_nsl.audio.clip import to_mono

    rows = []
    for hz in _TONES_HZ:
        tone = np.sin(2 * np.pi * hz * np.arange(48_000) / 48_000).astype(np.float32)
        ours = to_mono(tone, 48_000)
        theirs = tfio.audio.resample(tone[:, None], 48_000, 16_000).numpy()[:, 0]
        rows.append({"tone_hz": hz, "ours_db": level(ours), "tensorflow_io_db": level(theirs)})
    return rows


def level(tone: np.ndarray) -> float:
    """Root mean square of a unit sine in dB; 0 is unchanged."""
    return round(float(20 * np.log10(np.sqrt(2 * np.mean(tone**2)))), 2)


def difference(waveform: np.ndarray, reference: np.ndarray) -> float:
    """Largest difference over the common length."""
    length = min(len(waveform), len(reference))
    return float(np.abs(waveform[:length] - reference[:length]).max())


def duration(clips: Sequence[Path]) -> float:
    """Seconds of audio."""
    import soundfile

    return sum(soundfile.info(path).duration for path in clips)


def describe(measured: dict) -> str:
    """The report, as Markdown."""

    def table(name: str) -> str:
        return tabulate(measured[name], headers="keys", tablefmt="github")

    return "\n".join(
        [
            "# Decoding and log Mel",
            "",
            f"Made by `benchmarks/decoding.py` on {measured['machine']}. Speeds move with the load "
            "of the machine; compare rows of one table.",
            "",
            "## Clip to log Mel, all cores",
            "",
            "Peak memory is that of the whole process, TensorFlow included; it must not grow with "
            "the number of clips.",
            "",
            table("speed"),
            "",
            "## Decoding alone, one thread",
            "",
            table("decoders"),
            "",
            "## Largest difference from `librosa.load(sr=16000)`",
            "",
            table("files"),
            "",
            "## Level of pure tones after resampling from 48 to 16 kHz",
            "",
            table("tones"),
            "",
        ]
    )


if __name__ == "__main__":
    run_function(main)
