"""Runs an exported recogniser: NumPy, soundfile, soxr and a TFLite runtime, nothing else.

LiteRT is used where it is installed, tflite-runtime otherwise.
"""

import importlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ser_nsl.audio import fit_length, to_mono
from ser_nsl.errors import InputError

FORMAT_VERSION = 1
"""Grows when a file can no longer be run by the `Recognizer` of older releases."""

SETTINGS_NAME = "recogniser.json"
LABELS_NAME = "labels.txt"

_RUNTIMES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
_TFLITE_IDENTIFIER = b"TFL3"  # bytes 4 to 7 of the flatbuffer
_LOUDEST = 10.0  # 20 dB above full scale: no speech, but integers that were not scaled


class Recognizer:
    """An exported recogniser, ready to hear clips.

    It must not be used by two threads at once; give each its own.

    Attributes:
        name: The recogniser's name.
        labels: Emotions in the order of the model's outputs.
        sample_rate_hz: Sample rate of the model's input; other rates are resampled to it.
        clip_samples: Length of the model's input; other lengths are cut or repeated to it.
        runtime: The package that runs it, `ai_edge_litert` or `tflite_runtime`.
    """

    name: str
    labels: tuple[str, ...]
    sample_rate_hz: int
    clip_samples: int
    runtime: str

    def __init__(self, path: Path | str, *, threads: int = 1) -> None:
        """Opens a recogniser.

        Args:
            path: `.tflite` file made by `tools/export_tflite.py`.
            threads: Threads that the runtime may use, at least 1.

        Raises:
            InputError: If the file is missing, damaged, not an exported recogniser or made by a
                newer release, or if no TFLite runtime is installed.
        """
        if threads < 1:
            raise InputError(f"threads: must be at least 1; received {threads}.")
        path = Path(path)
        content = _read_tflite(path)
        settings, self.labels = _read_settings(path, content)
        self.name = settings["name"]
        self.sample_rate_hz = int(settings["sample_rate_hz"])
        self.clip_samples = int(settings["clip_samples"])
        interpreter_class = _interpreter_class()
        self.runtime = interpreter_class.__module__.partition(".")[0]
        try:
            self._interpreter = interpreter_class(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"{path}: the TFLite runtime cannot load it ({error}); copy it again, or bring "
                "the runtime up to date."
            ) from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        self._input = _only_tensor(path, "input", inputs, self.clip_samples)
        self._output = _only_tensor(path, "output", outputs, len(set(self.labels)))

    def predict(self, samples: np.ndarray, sample_rate_hz: float) -> dict[str, float]:
        """Recognises the emotion of one clip.

        The clip is prepared as in training: channels averaged, resampled, then cut at the end,
        or repeated from its beginning, to `clip_samples`.

        Args:
            samples: Shape `(samples,)` or `(samples, channels)`; float in [-1, 1], or int16,
                which is divided by 32768.
            sample_rate_hz: Sample rate of `samples`.

        Returns:
            For each label, in the order of `labels`, its probability in [0, 1]; their sum is 1.

        Raises:
            InputError: If `samples` has another shape or type, is shorter than one sample at
                the model's rate, holds NaN or infinite values, or peaks above 10.
        """
        waveform = _as_float(samples)
        if not sample_rate_hz > 0:
            raise InputError(f"sample_rate_hz: must be positive; received {sample_rate_hz}.")
        if len(waveform) * self.sample_rate_hz < sample_rate_hz:
            raise InputError(
                f"samples: must last at least one sample at {self.sample_rate_hz} Hz; received "
                f"{len(waveform)} samples at {sample_rate_hz} Hz."
            )
        _check_values(waveform)
        mono = to_mono(waveform, sample_rate_hz, sample_rate_hz=self.sample_rate_hz)
        heard = fit_length(mono, self.clip_samples)
        self._interpreter.set_tensor(self._input, heard[np.newaxis])
        self._interpreter.invoke()
        probabilities = self._interpreter.get_tensor(self._output)[0]
        return dict(zip(self.labels, probabilities.tolist(), strict=True))


def _interpreter_class() -> type:
    """The interpreter of the first runtime that is installed."""
    for module in _RUNTIMES:
        try:
            return importlib.import_module(module).Interpreter
        except ImportError:
            continue
    raise InputError(
        "no TFLite runtime is installed; run `pip install ai-edge-litert`, or `pip install "
        "tflite-runtime` where the former has no build."
    )


def _read_tflite(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path.") from error
    if content[4:8] != _TFLITE_IDENTIFIER:
        raise InputError(
            f"{path}: is not a TFLite file; give the file that tools/export_tflite.py made."
        )
    return content


def _read_settings(path: Path, content: bytes) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Reads the settings and the labels, which lie as a zip archive behind the model."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            settings = json.loads(archive.read(SETTINGS_NAME))
            labels = tuple(archive.read(LABELS_NAME).decode().splitlines())
        newer = settings["format_version"] > FORMAT_VERSION
        _ = settings["name"], int(settings["sample_rate_hz"]), int(settings["clip_samples"])
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: holds no readable {SETTINGS_NAME} and {LABELS_NAME} ({error}), so it is "
            "cut off or no recogniser of ser_nsl; copy or export it again."
        ) from error
    if newer:
        raise InputError(
            f"{path}: has format {settings['format_version']}, this release reads up to "
            f"{FORMAT_VERSION}; bring ser-nsl up to date."
        )
    return settings, labels


def _only_tensor(path: Path, role: str, tensors: list[dict], width: int) -> int:
    """Index of the model's one input or output, which must be as the settings announce it."""
    found = [(tensor["dtype"].__name__, tuple(tensor["shape"].tolist())) for tensor in tensors]
    if found != [("float32", (1, width))]:
        raise InputError(
            f"{path}: its settings and labels announce one {role} of float32 and shape "
            f"{(1, width)}, the model has {found}; export it again."
        )
    return tensors[0]["index"]


def _as_float(samples: np.ndarray) -> np.ndarray:
    """Checks shape and type, and brings int16 to [-1, 1]."""
    samples = np.asarray(samples)
    if samples.ndim not in (1, 2) or (
        samples.ndim == 2 and not 0 < samples.shape[1] <= len(samples)
    ):
        raise InputError(
            f"samples: must have shape (samples,) or (samples, channels); received {samples.shape}."
        )
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / 32768
    if samples.dtype.kind != "f":
        raise InputError(
            f"samples: must be float in [-1, 1] or int16; received {samples.dtype}. Divide by "
            "the full scale of that type."
        )
    return samples.astype(np.float32, copy=False)


def _check_values(waveform: np.ndarray) -> None:
    if not np.isfinite(waveform).all():
        raise InputError("samples: must not hold NaN or infinite values.")
    peak = np.abs(waveform).max()
    if peak > _LOUDEST:
        raise InputError(
            f"samples: must lie in [-1, 1]; received a peak of {peak:g}. Divide integers that "
            "were only converted to float by their full scale, 32768 for 16 bits."
        )
