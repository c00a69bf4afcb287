"""One clip in, labelled probabilities out."""

import contextlib
import hashlib
import importlib
import io
import json
import math
import re
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ser_nsl.audio.clip import SILENCE_PEAK, fit_length, to_mono
from ser_nsl.audio.samples import as_float, check_rate
from ser_nsl.edge.adaptation import Adaptation, are_finite
from ser_nsl.edge.stream import Stream
from ser_nsl.edge.window import NO_SPEECH, NOT_SURE, Window
from ser_nsl.errors import InputError

FORMAT_VERSION = 1
"""Version of the file format; it grows when older releases cannot run a newer file."""

SETTINGS_NAME = "recogniser.json"
"""Name of the file of settings inside a recogniser."""

LABELS_NAME = "labels.txt"
"""Name of the file of labels inside a recogniser."""

RUNTIMES = ("ai_edge_litert", "tflite_runtime")
"""Packages that can run a recogniser, in order of preference."""

_MOST_THREADS = 1_024  # with some more the runtime ends the process
_TFLITE_IDENTIFIER = b"TFL3"  # bytes 4 to 7 of the flatbuffer

# What zipfile and json raise for damaged bytes.
_UNREADABLE = (zipfile.BadZipFile, EOFError, KeyError, RuntimeError, TypeError, ValueError)


class Recognizer:
    """An exported recogniser.

    Several threads may use it; they take turns.

    Attributes:
        name: Name of the recogniser.
        labels: Emotions in the order of the model's outputs, and of newer files `NO_SPEECH`.
        abstain_below: Probability below which the top emotion is more likely wrong than right, so
            that `answer` does not say it; 0 for older files.
        typical: Mean natural logarithm of each emotion's probability over speech of many speakers,
            which `Adaptation` needs; None for files that do not say.
        sample_rate_hz: Sample rate of the model's input; other rates are resampled to it.
        clip_samples: Length of the model's input; other lengths are cut or repeated to it.
        runtime: Package that runs the model, `ai_edge_litert` or `tflite_runtime`.

    Example:
        >>> from ser_nsl.audio import read_audio
        >>> recognizer = Recognizer("recogniser.tflite")
        >>> recognizer.labels
        ('anger', 'disgust', 'fear', 'happiness', 'neutral', 'sadness', 'no speech')
        >>> clip = read_audio("audio/Actor_01/03-01-01-01-01-01-01.wav")
        >>> probabilities = recognizer.predict(clip, 16_000)
        >>> max(probabilities, key=probabilities.get)  # the clip is a low tone
        'no speech'
    """

    def __init__(self, path: Path | str, *, threads: int = 1, runtime: str | None = None) -> None:
        """Opens a recogniser.

        Args:
            path: `.tflite` file made by `ser-nsl export-tflite`, or found by `find_model`.
            threads: Number of threads that the runtime may use, 1 to 1,024.
            runtime: Package that runs the model, one of `RUNTIMES`; None for the first one that
                is installed.

        Raises:
            InputError: If the file is missing, damaged, not an exported recogniser or made by a
                newer release, or if the TFLite runtime is not installed.
        """
        if not isinstance(threads, int) or not 1 <= threads <= _MOST_THREADS:
            raise InputError(
                f"threads: must be an integer from 1 to {_MOST_THREADS}; received {threads!r}."
            )
        path = Path(path)
        content = _read_tflite(path)
        settings, self.labels = _read_settings(path, content)
        self.name: str = settings["name"]
        self.sample_rate_hz: int = settings["sample_rate_hz"]
        self.clip_samples: int = settings["clip_samples"]
        self.abstain_below = float(settings["abstain_below"])
        typical = settings["typical"]
        self.typical = None if typical is None else tuple(map(float, typical))
        interpreter_class = _interpreter_class(runtime)
        self.runtime = interpreter_class.__module__.partition(".")[0]
        self._lock = threading.Lock()
        try:
            self._interpreter = interpreter_class(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
            inputs = self._interpreter.get_input_details()
            outputs = self._interpreter.get_output_details()
            self._input = _only_tensor(path, "input", inputs, self.clip_samples)
            self._output = _only_tensor(path, "output", outputs, len(set(self.labels)))
            noise = np.random.default_rng(0).uniform(-0.1, 0.1, self.clip_samples)
            tried = self.predict(noise, self.sample_rate_hz)
        except InputError:
            raise
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"{path}: the TFLite runtime cannot run it ({' '.join(str(error).split())}); copy "
                "it again, or update the runtime."
            ) from error
        if not are_finite([*tried.values()], len(tried)):
            raise InputError(f"{path}: is damaged (it answers {tried}); copy or export it again.")

    def predict(self, samples: np.ndarray, sample_rate_hz: float) -> dict[str, float]:
        """Recognises the emotion of one clip.

        The clip is prepared as in training: channels averaged, resampled, then cut at the end,
        or repeated from its beginning, to `clip_samples`.

        Args:
            samples: Shape `(samples,)` or `(samples, channels)`; float in [-1, 1], or int16,
                which is divided by 32768.
            sample_rate_hz: Sample rate of `samples`, from 1,000 to 1,000,000.

        Returns:
            The probability of each label, in [0, 1] and in the order of `labels`; their sum is 1.

        Raises:
            InputError: If `samples` has another shape or type, is shorter than one sample at
                the model's rate, holds NaN or infinite values, or has a peak above 10; or if the
                sample rate is outside its range.
        """
        check_rate(sample_rate_hz)
        waveform = as_float(samples)
        if len(waveform) * self.sample_rate_hz < sample_rate_hz:
            raise InputError(
                f"samples: must last at least one sample at {self.sample_rate_hz} Hz; received "
                f"{len(waveform)} samples at {sample_rate_hz} Hz."
            )
        mono = to_mono(waveform, sample_rate_hz, sample_rate_hz=self.sample_rate_hz)
        clip = fit_length(mono, self.clip_samples)
        with self._lock:
            self._interpreter.set_tensor(self._input, clip[np.newaxis])
            self._interpreter.invoke()
            probabilities = self._interpreter.get_tensor(self._output)[0]
        return dict(zip(self.labels, probabilities.tolist(), strict=True))

    def hear(
        self, samples: np.ndarray, sample_rate_hz: float, *, adaptation: Adaptation | None = None
    ) -> list[Window]:
        """Recognises a whole recording, window by window.

        Args:
            samples: As for `predict`, of any length.
            sample_rate_hz: Sample rate of `samples`, from 1,000 to 1,000,000.
            adaptation: The speaker, if there is only one: learned from each window, to which its
                answer is then adapted. A recording that is heard twice is learned twice.

        Returns:
            Windows of the length of the model's input that overlap by half or more and cover the
            recording to its end; one if it is no longer than that. Windows with a peak below
            `ser_nsl.audio.SILENCE_PEAK` have no probabilities.

        Raises:
            InputError: As `predict`, or if the adaptation is of another recogniser.

        Example:
            >>> noise = np.random.default_rng(0).uniform(-0.1, 0.1, 64_000)
            >>> recognizer = Recognizer("recogniser.tflite")
            >>> [window.start_seconds for window in recognizer.hear(noise, 16_000)]  # 3 s each
            [0.0, 1.0]
        """
        check_rate(sample_rate_hz)
        if adaptation is not None:
            adaptation.check_is_of(self)
        mono = to_mono(as_float(samples), sample_rate_hz, sample_rate_hz=sample_rate_hz)
        length = math.ceil(self.clip_samples / self.sample_rate_hz * sample_rate_hz)
        last = max(0, len(mono) - length)
        count = 1 + math.ceil(last / (length / 2))
        windows, heard = [], 0
        for start in np.linspace(0, last, count).round().astype(int).tolist():
            end = min(start + length, len(mono))
            probabilities = self._answer(mono[start:end], sample_rate_hz)
            if adaptation is not None and probabilities is not None:
                adaptation.learn(probabilities, (end - heard) / sample_rate_hz)
                probabilities = adaptation.adapt(probabilities)
            heard = end
            start_seconds, end_seconds = start / sample_rate_hz, end / sample_rate_hz
            windows.append(Window(round(start_seconds, 3), round(end_seconds, 3), probabilities))
        return windows

    def answer(self, probabilities: Mapping[str, float] | None) -> str:
        """Says what probabilities mean, as `ser-nsl predict` and the page do.

        Args:
            probabilities: Probability of each label, of a clip, a window, a whole recording or a
                stream; None for silence.

        Returns:
            The most probable label, an emotion or `NO_SPEECH`; `NOT_SURE` for an emotion below
            `abstain_below`.

        Example:
            >>> recognizer = Recognizer("recogniser.tflite")
            >>> recognizer.abstain_below
            0.5
            >>> recognizer.answer({"anger": 0.55, "fear": 0.45})
            'anger'
            >>> recognizer.answer({"anger": 0.45, "fear": 0.35, "no speech": 0.2})
            'not sure'
        """
        if probabilities is None:
            return NO_SPEECH
        top = max(probabilities, key=lambda label: probabilities[label])
        sure = top == NO_SPEECH or probabilities[top] >= self.abstain_below
        return top if sure else NOT_SURE

    def _answer(self, window: np.ndarray, rate: float) -> dict[str, float] | None:
        """Returns the answer for a window; None for silence."""
        silent = len(window) > 0 and np.abs(window).max() < SILENCE_PEAK
        return None if silent else self.predict(window, rate)

    def stream(
        self,
        sample_rate_hz: float,
        *,
        hop_seconds: float = 0.5,
        smoothing_seconds: float = 1.0,
        adaptation: Adaptation | None = None,
    ) -> Stream:
        """Starts to recognise endless audio, such as that of a microphone.

        Args:
            sample_rate_hz: Sample rate of the audio, from 1,000 to 1,000,000.
            hop_seconds: Time from one prediction to the next, at least one sample.
            smoothing_seconds: Age at which a prediction's weight has fallen to 1/e; 0 for no
                smoothing.
            adaptation: The speaker, if there is only one: learned from each window, to which its
                answer is then adapted, before smoothing.

        Returns:
            The stream, which takes chunks of any size.

        Raises:
            InputError: If a number is outside its range, or the adaptation is of another
                recogniser.
        """
        if adaptation is not None:
            adaptation.check_is_of(self)
        return Stream(
            self.predict,
            self.clip_samples / self.sample_rate_hz,
            sample_rate_hz,
            hop_seconds=hop_seconds,
            smoothing_seconds=smoothing_seconds,
            adaptation=adaptation,
        )


def _interpreter_class(runtime: str | None) -> type:
    """Returns the interpreter of a runtime, or of the first one that is installed."""
    if runtime not in (None, *RUNTIMES):
        raise InputError(f"runtime: must be {' or '.join(RUNTIMES)}; received {runtime}.")
    packages = [runtime] if runtime else RUNTIMES
    for package in packages:
        with contextlib.suppress(ImportError):
            return importlib.import_module(f"{package}.interpreter").Interpreter
    raise InputError(
        f"runtime: {' or '.join(packages)} is not installed; run `pip install ai-edge-litert`, or "
        "`pip install tflite-runtime 'numpy<2'` where the former has no build."
    )


def _read_tflite(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            beginning = file.read(8)
            if beginning[4:] != _TFLITE_IDENTIFIER:  # before more is read, which may be terabytes
                raise InputError(
                    f"{path}: is not a TFLite file; `ser-nsl export-tflite` makes one."
                )
            return beginning + file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path.") from error


def _read_settings(path: Path, content: bytes) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Reads the settings and the labels, which are in a zip archive after the model."""
    labels: tuple[str, ...] = ()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            settings = json.loads(archive.read(SETTINGS_NAME))
            newer = settings["format_version"] > FORMAT_VERSION
            if not newer:  # what else a newer file holds is unknown
                labels = tuple(archive.read(LABELS_NAME).decode().splitlines())
                _ = settings["name"], settings["clip_samples"]
                check_rate(settings["sample_rate_hz"])
                model = content[: min(file.header_offset for file in archive.infolist())]
    except _UNREADABLE as error:
        raise InputError(
            f"{path}: holds no readable {SETTINGS_NAME} and {LABELS_NAME} ({error}), so it is "
            "cut off or not a recogniser of ser_nsl; copy or export it again."
        ) from error
    if newer:
        raise InputError(
            f"{path}: has format {settings['format_version']}, this release reads up to "
            f"{FORMAT_VERSION}; update ser-nsl."
        )
    digest = settings.get("model_sha256")  # older files have none
    if digest is not None and digest != hashlib.sha256(model).hexdigest():
        raise InputError(f"{path}: is damaged before {LABELS_NAME}; copy or export it again.")
    if not all(label.strip() and _is_text(label) for label in labels):
        raise InputError(
            f"{path}: {LABELS_NAME} must have a name in each line; received {labels}; export it "
            "again."
        )
    emotions = len({*labels} - {NO_SPEECH})
    settings = {"abstain_below": 0, "typical": None} | settings
    typical, least = settings["typical"], settings["abstain_below"]
    rules = {
        "name": (_is_text(settings["name"]), "text on one line"),
        "sample_rate_hz": (type(settings["sample_rate_hz"]) is int, "a whole number"),
        "clip_samples": (type(settings["clip_samples"]) is int, "a whole number"),
        "abstain_below": (are_finite([least], 1) and 0 <= least <= 1, "a probability, 0 to 1"),
        "typical": (
            typical is None or are_finite(typical, emotions),
            f"{emotions} finite numbers, one for each emotion",
        ),
    }
    for name, (holds, rule) in rules.items():
        if not holds:
            raise InputError(
                f"{path}: {name} in {SETTINGS_NAME} must be {rule}; received {settings[name]!r}; "
                "export it again."
            )
    return settings, labels


def _is_text(value: object) -> bool:
    """Whether a value of a file is text that does nothing to a terminal."""
    return isinstance(value, str) and not re.search(r"[\x00-\x1f\x7f-\x9f]", value)


def _only_tensor(path: Path, role: str, tensors: list[dict], width: int) -> int:
    """Returns the index of the model's only input or output, which must match the settings."""
    found = [(tensor["dtype"].__name__, tuple(tensor["shape"].tolist())) for tensor in tensors]
    if found != [("float32", (1, width))]:
        raise InputError(
            f"{path}: its settings and labels need one {role} of float32 and shape {(1, width)}, "
            f"the model has {found}; export it again."
        )
    return tensors[0]["index"]
