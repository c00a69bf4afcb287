"""How a speaker usually sounds to a recogniser, learned without labels while it listens."""

from __future__ import annotations

import json
import math
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ser_nsl.edge.window import NO_SPEECH, is_speech
from ser_nsl.errors import InputError

_PRIOR_SECONDS = 30  # of speech that sounds like that of many speakers
_FLOOR = 1e-6  # of a probability, before its logarithm
_ROUNDING = 1e-6  # of a probability, or of a mean logarithm


class Adaptable(Protocol):
    """What a recogniser tells an adaptation; `Recognizer` does."""

    name: str
    labels: tuple[str, ...]
    typical: tuple[float, ...] | None


class Adaptation:
    """Running statistics of one speaker, by which a recogniser's answers are adapted.

    A voice that always sounds a little angry to a recogniser is not always angry. What is learned
    is by how much the logarithm of each emotion's probability differs, on average over seconds of
    speech, from what is typical of many speakers. This difference is taken off; the less was
    heard, the less of it, by half after 30 s. The speaker should show all emotions now and then:
    one that is shown all the time becomes the usual one.

    Use one for each speaker. Several threads may share it; each call is done as a whole, but an
    answer then depends on what the others have learned before it.

    Attributes:
        emotions: Emotions of the recogniser, in the order of its labels.
        typical: The recogniser's own `typical`.
        seconds: Seconds of speech heard.
        sum: Sum over these seconds of the difference of each emotion's natural logarithm of
            probability from `typical`; float64, shape `(emotions,)`.

    Example:
        >>> from ser_nsl.edge import Recognizer
        >>> recognizer = Recognizer("recogniser.tflite")
        >>> adaptation = Adaptation(recognizer)
        >>> noise = np.random.default_rng(0).uniform(-0.1, 0.1, 64_000)
        >>> windows = recognizer.hear(noise, 16_000, adaptation=adaptation)
        >>> adaptation.seconds  # noise is no speech
        0.0
    """

    def __init__(self, recognizer: Adaptable) -> None:
        """Starts anew: nothing heard.

        Args:
            recognizer: A `Recognizer` with `typical`.

        Raises:
            InputError: If the recogniser does not know what is typical.
        """
        if recognizer.typical is None:
            raise InputError(
                f"recognizer: {recognizer.name!r} cannot adapt, since its file does not say what "
                "is typical of many speakers; export it again with this release."
            )
        self.emotions = tuple(label for label in recognizer.labels if label != NO_SPEECH)
        self.typical = recognizer.typical
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forgets the speaker."""
        with self._lock:
            self.seconds = 0.0
            self.sum = np.zeros(len(self.emotions))

    def learn(self, probabilities: Mapping[str, float], seconds: float) -> None:
        """Learns from a window, unless it is no speech.

        `Recognizer.hear` and streams do this for each window.

        Args:
            probabilities: The recogniser's own answer, not an adapted one.
            seconds: How much of the window was in no window before, at least 0.

        Raises:
            InputError: If the probabilities are not those of the recogniser's labels, or a number
                is outside its range.

        Example:
            >>> from ser_nsl.edge import Recognizer
            >>> adaptation = Adaptation(Recognizer("recogniser.tflite"))
            >>> adaptation.learn(dict.fromkeys(adaptation.emotions, 1 / 6), 3)
            >>> adaptation.seconds
            3.0
        """
        logarithms = self._logarithms(probabilities)
        if not 0 <= seconds < math.inf:
            raise InputError(f"seconds: must be 0 or more, and finite; received {seconds}.")
        if is_speech(probabilities):
            with self._lock:
                self.seconds += seconds
                self.sum = self.sum + seconds * (logarithms - self.typical)

    def adapt(self, probabilities: Mapping[str, float]) -> dict[str, float]:
        """Adapts an answer to the speaker.

        Args:
            probabilities: The recogniser's own answer.

        Returns:
            The same labels, with what is usual for the speaker taken off: the softmax of the
            emotions' logarithms less `sum` / (`seconds` + 30). "no speech" keeps its probability
            and the emotions share the rest, so that the sum is 1.

        Raises:
            InputError: If the probabilities are not those of the recogniser's labels.

        Example:
            >>> from ser_nsl.edge import Recognizer
            >>> adaptation = Adaptation(Recognizer("recogniser.tflite"))
            >>> answer = dict.fromkeys(adaptation.emotions, 0.1) | {"anger": 0.5}
            >>> adaptation.learn(answer, 300)  # five minutes of it: that is the voice
            >>> adaptation.adapt(answer)["anger"] < 0.4
            True
        """
        logarithms = self._logarithms(probabilities)
        with self._lock:
            shifted = logarithms - self.sum / (self.seconds + _PRIOR_SECONDS)
        exponentials = np.exp(shifted - shifted.max())
        speech = max(0.0, 1 - probabilities.get(NO_SPEECH, 0))
        shares = speech * exponentials / exponentials.sum()
        return {**probabilities, **dict(zip(self.emotions, shares.tolist(), strict=True))}

    def check_is_of(self, recognizer: Adaptable) -> None:
        """Refuses a recogniser to which this adaptation does not belong.

        Args:
            recognizer: The recogniser that is to be adapted.

        Raises:
            InputError: If its emotions are others, or others are typical. Forms of one export
                have the same.
        """
        given = Adaptation(recognizer)
        if (self.emotions, self.typical) != (given.emotions, given.typical):
            raise InputError(
                f"adaptation: is of {_described(self.emotions, self.typical)}, the recogniser has "
                f"{_described(given.emotions, given.typical)}; use one for each recogniser."
            )

    def save(self, path: Path | str) -> None:
        """Saves the statistics as a small JSON file, the same that the page keeps.

        A kill leaves the former file or the new one. It holds no sound.

        Args:
            path: The file, which may exist.

        Raises:
            InputError: If it cannot be written.

        Example:
            >>> from ser_nsl.edge import Recognizer
            >>> recognizer = Recognizer("recogniser.tflite")
            >>> adaptation = Adaptation(recognizer)
            >>> adaptation.learn(dict.fromkeys(adaptation.emotions, 1 / 6), 3)
            >>> adaptation.save("anna.json")
            >>> Adaptation.load("anna.json", recognizer).seconds
            3.0
        """
        path = Path(path).resolve()  # a link stays one
        with self._lock:
            statistics = {
                "labels": self.emotions,
                "typical": self.typical,
                "seconds": self.seconds,
                "sum": self.sum.tolist(),
            }
        try:
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
                begun = Path(folder) / path.name
                begun.write_text(json.dumps(statistics) + "\n")
                begun.replace(path)
        except OSError as error:
            raise InputError(
                f"{path}: cannot be written ({error.strerror}); choose a file in a folder that "
                "exists and that you may write to."
            ) from error

    @classmethod
    def load(cls, path: Path | str, recognizer: Adaptable) -> Adaptation:
        """Goes on with what was saved.

        Args:
            path: A file that `save` has written.
            recognizer: The recogniser from whose answers it was learned.

        Returns:
            The adaptation.

        Raises:
            InputError: If the file is missing, damaged or of another recogniser, or if the
                recogniser does not know what is typical.
        """
        adaptation = cls(recognizer)
        saved = _read(Path(path))
        emotions, typical = tuple(saved["labels"]), tuple(saved["typical"])
        if (emotions, typical) != (adaptation.emotions, adaptation.typical):
            raise InputError(
                f"{path}: was learned from a recogniser of {_described(emotions, typical)}, this "
                f"one has {_described(adaptation.emotions, adaptation.typical)}; choose that "
                "recogniser or another file."
            )
        adaptation.seconds = float(saved["seconds"])
        adaptation.sum = np.array(saved["sum"], dtype=float)
        return adaptation

    def _logarithms(self, probabilities: Mapping[str, float]) -> np.ndarray:
        """Returns logarithms of the emotions' probabilities, as if there were speech for sure."""
        emotions = {name: share for name, share in probabilities.items() if name != NO_SPEECH}
        if tuple(emotions) != self.emotions or not all(
            -_ROUNDING <= share <= 1 + _ROUNDING for share in probabilities.values()
        ):
            raise InputError(
                f"probabilities: must be in [0, 1] for {', '.join(self.emotions)}, in this order; "
                f"received {dict(probabilities)}."
            )
        shares = np.array([*emotions.values()], dtype=float).clip(0, 1)
        total = shares.sum() or 1.0  # int8 files are so sure of no speech that nothing is left
        return np.log(np.maximum(shares / total, _FLOOR))


def are_finite(values: object, count: int) -> bool:
    """Returns whether a value of a JSON file is a list of so many finite numbers."""
    return (
        isinstance(values, list)
        and len(values) == count
        and all(
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and abs(value) <= sys.float_info.max  # also integers, which have no end
            for value in values
        )
    )


def _read(path: Path) -> dict[str, Any]:
    """Reads statistics whose numbers are possible."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        problem = _problem(saved)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path.") from error
    except (RecursionError, ValueError) as error:
        problem = f"is not JSON: {error}"
    if problem:
        raise InputError(
            f"{path}: is damaged, or not of an adaptation ({problem}); give another file, or "
            "delete it to start anew."
        )
    return saved


def _problem(saved: Any) -> str:
    """Says what is wrong with the content of a file; empty if nothing is."""
    if not isinstance(saved, dict):
        return "is not a JSON object"
    labels = saved.get("labels")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        return f"labels: must be names; received {labels!r}"
    for key, values in {key: saved.get(key) for key in ("typical", "sum")}.items():
        if not are_finite(values, len(labels)):
            return f"{key}: must be {len(labels)} finite numbers; received {values!r}"
    seconds: Any = saved.get("seconds")
    if not are_finite([seconds], 1) or seconds < 0:
        return f"seconds: must be 0 or more, and finite; received {seconds!r}"
    # Each mean logarithm lies between that of the floor and that of 1.
    means = np.array(saved["sum"], dtype=float) + seconds * np.array(saved["typical"], dtype=float)
    slack = _ROUNDING * (seconds + 1)
    if not ((seconds * math.log(_FLOOR) - slack <= means) & (means <= slack)).all():
        return f"sum: cannot come from {seconds} seconds; received {saved['sum']}"
    return ""


def _described(emotions: tuple[str, ...], typical: tuple[float, ...]) -> str:
    return f"{', '.join(emotions)} (typical: {', '.join(map(str, typical))})"
