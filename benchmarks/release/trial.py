"""What a recogniser answers outside the studio, and how sure it is."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.release.calibration import calibration_error
from ser_nsl.audio.clip import SAMPLE_RATE_HZ, fit_length, read_audio
from ser_nsl.audio.sounds import SOUNDS
from ser_nsl.edge import NO_SPEECH, Recognizer, average
from ser_nsl.evaluation.conditions import CONDITIONS, under
from ser_nsl.evaluation.scores import score
from ser_nsl.pipeline.bars import Bar

_CALLS = 101
_SOUNDS = 100  # of each kind
_UNHEARD = 10**6  # seeds from here on are not those of training
_WHOLE = {
    "as recorded": 0.0,
    "a second of silence before": 1.0,
    "a second of room noise before": 1.0,
}
"""Conditions under which the whole file is heard too, and the seconds that they add."""


def try_out(file: Path, clips: Sequence[Path], emotions: Sequence[str]) -> dict[str, Any]:
    """Tries a recogniser on clips under all conditions, and on sounds that are not speech.

    Args:
        file: The `.tflite` file.
        clips: Audio files of test speakers.
        emotions: Emotion of each clip.

    Returns:
        `milliseconds` of a call, the median on one thread; `conditions`: UAR, and share of clips
        called no speech, by condition; `whole`: the same where files are heard to their end, as by
        `ser-nsl predict`; `calibration_error`;
        `answered`: share of clips with an answer that is not below `abstain_below`, and
        `accuracy_answered` of these; `sounds`: share called an emotion with more than 0.5, by kind.
    """
    recognizer = Recognizer(file)
    waveforms = [read_audio(clip) for clip in clips]
    index = {label: i for i, label in enumerate(recognizer.labels)}
    labels = np.array([index[emotion] for emotion in emotions])

    def heard(condition: str, seconds: float | None = None) -> Iterator[np.ndarray]:
        """Clips under a condition: of the recogniser's length, or with what it adds in seconds."""
        for number, clip in enumerate(waveforms):
            length = recognizer.clip_samples
            if seconds is not None:
                length = len(clip) + round(seconds * SAMPLE_RATE_HZ)
            yield under(condition, clip, length, seed=(1, number), voices=waveforms)

    def scored(answers: np.ndarray) -> dict[str, float]:
        given = answers.argmax(axis=1)
        silent = float((given == index.get(NO_SPEECH, -1)).mean())
        return {"uar": score(labels, given, recognizer.labels)["uar"], "no_speech": silent}

    conditions, as_recorded = {}, np.empty(0)
    for condition in Bar(CONDITIONS, desc=f"trying {file.name}", unit="condition"):
        answers = np.array([_answer(recognizer, waveform) for waveform in heard(condition)])
        conditions[condition] = scored(answers)
        if condition == "as recorded":
            as_recorded = answers
    whole = {
        condition: scored(
            np.array([_answer_whole(recognizer, each) for each in heard(condition, seconds)])
        )
        for condition, seconds in _WHOLE.items()
    }
    top = as_recorded.max(axis=1)
    right = as_recorded.argmax(axis=1) == labels
    answered = top >= recognizer.abstain_below
    return {
        "milliseconds": _milliseconds(recognizer, waveforms[0]),
        "conditions": conditions,
        "whole": whole,
        "calibration_error": calibration_error(as_recorded, labels),
        "answered": float(answered.mean()),
        "accuracy_answered": float(right[answered].mean()) if answered.any() else None,
        "sounds": {kind: _called_emotion(recognizer, kind) for kind in SOUNDS},
    }


def _milliseconds(recognizer: Recognizer, waveform: np.ndarray) -> float:
    clip, times = fit_length(waveform, recognizer.clip_samples), []
    for _ in range(_CALLS):
        start = time.perf_counter()
        _answer(recognizer, clip)
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def _answer(recognizer: Recognizer, waveform: np.ndarray) -> list[float]:
    return [*recognizer.predict(waveform, SAMPLE_RATE_HZ).values()]


def _answer_whole(recognizer: Recognizer, waveform: np.ndarray) -> list[float]:
    """The answer for a recording: the mean over its windows with speech."""
    answer = average(recognizer.hear(waveform, SAMPLE_RATE_HZ))
    return [0.0] * len(recognizer.labels) if answer is None else [*answer.values()]


def _called_emotion(recognizer: Recognizer, kind: str) -> float:
    """Share of the sounds of a kind that get an emotion with more than 0.5."""
    called = 0
    for number in range(_SOUNDS):
        draw = np.random.default_rng((_UNHEARD, number))
        sound = SOUNDS[kind](recognizer.clip_samples, draw)
        sound = sound * 10 ** (draw.uniform(-60, 0) / 20) / max(np.abs(sound).max(), 1e-4)
        answer = recognizer.predict(sound.astype(np.float32), SAMPLE_RATE_HZ)
        called += max(share for label, share in answer.items() if label != NO_SPEECH) > 0.5
    return called / _SOUNDS
