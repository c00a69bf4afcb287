"""Hears audio as it comes, in chunks of any size."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ser_nsl.audio.clip import SILENCE_PEAK
from ser_nsl.edge.samples import as_float, check_rate
from ser_nsl.errors import InputError


class Prediction(NamedTuple):
    """What a stream says at one moment.

    Attributes:
        time_seconds: The moment, in seconds of audio since the stream began.
        probabilities: For each label its probability in [0, 1]; their sum is 1.
    """

    time_seconds: float
    probabilities: dict[str, float]


class Stream:
    """An endless recording, heard through a window that moves on by hops.

    `Recognizer.stream` makes it. At every multiple of `hop_seconds` the recogniser hears the last
    window, as `predict` would hear it as a clip of its own. The first window is waited for: half
    a second of speech, repeated to the length of the window, says little, and says it with
    confidence. A silent window gets no answer, for the same reason. How the audio is cut into
    chunks changes nothing.

    It must not be used by two threads at once. It holds one window of audio, however long it
    runs.

    Attributes:
        sample_rate_hz: Sample rate of the chunks.
        window_seconds: How much audio one prediction hears.
        hop_seconds: Time from one prediction to the next.
        smoothing_seconds: Age at which a prediction's weight has fallen to 1/e; 0 for none.
    """

    sample_rate_hz: float
    window_seconds: float
    hop_seconds: float
    smoothing_seconds: float

    def __init__(
        self,
        predict: Callable[[np.ndarray, float], dict[str, float]],
        window_seconds: float,
        sample_rate_hz: float,
        *,
        hop_seconds: float,
        smoothing_seconds: float,
    ) -> None:
        """Begins to listen.

        Args:
            predict: Tells the probabilities of a window, float32 of shape `(samples,)`, at a
                sample rate.
            window_seconds: How much audio `predict` hears.
            sample_rate_hz: Sample rate of the chunks.
            hop_seconds: Time from one prediction to the next.
            smoothing_seconds: Age at which a prediction's weight has fallen to 1/e, at least 0.

        Raises:
            InputError: If a number lies outside its range.
        """
        check_rate(sample_rate_hz)
        if not 1 / sample_rate_hz <= hop_seconds < math.inf:
            raise InputError(
                "hop_seconds: must be at least one sample, and finite; received "
                f"{hop_seconds} at {sample_rate_hz} Hz."
            )
        if not 0 <= smoothing_seconds < math.inf:
            raise InputError(
                f"smoothing_seconds: must be 0 or more, and finite; received {smoothing_seconds}."
            )
        self.sample_rate_hz = sample_rate_hz
        self.window_seconds = window_seconds
        self.hop_seconds = hop_seconds
        self.smoothing_seconds = smoothing_seconds
        self._predict = predict
        self._window = math.ceil(window_seconds * sample_rate_hz)
        self._decay = math.exp(-hop_seconds / smoothing_seconds) if smoothing_seconds else 0.0
        self._channels: int | None = None
        self._last = np.zeros(0, np.float32)  # up to one window
        self._heard = 0  # samples since the stream began
        self._hop = 1  # number of the next moment
        self._sum: np.ndarray | float = 0.0  # of weighted probabilities
        self._weight = 0.0

    def feed(self, samples: np.ndarray) -> list[Prediction]:
        """Hears the next chunk.

        Args:
            samples: Any number of samples, also none, as `Recognizer.predict` takes them; int16
                and float may alternate, the number of channels must stay.

        Returns:
            The predictions that came due, none or several: of the n-th hop that of the audio up
            to n times `hop_seconds`, to the nearest sample. Each is the mean of those since the
            last silent window, weighted by exp(-age / `smoothing_seconds`). A window whose peak is
            below `ser_nsl.audio.clip.SILENCE_PEAK` has none.

        Raises:
            InputError: If `samples` cannot be used or has another number of channels than
                before; the stream then is as if it had not come.
        """
        waveform = as_float(samples)
        channels = waveform.shape[1] if waveform.ndim == 2 else 1
        if self._channels not in (None, channels):
            raise InputError(
                f"samples: must have as many channels as before, {self._channels}; received "
                f"{channels}."
            )
        if not len(waveform):
            return []
        self._channels = channels
        mono = waveform.mean(axis=1) if waveform.ndim == 2 else waveform
        audio = np.concatenate([self._last, mono])
        start = self._heard - len(self._last)  # of `audio`, in samples since the stream began
        self._heard += len(mono)
        predictions = []
        while (end := round(self._hop * self.hop_seconds * self.sample_rate_hz)) <= self._heard:
            if end >= self._window:
                window = audio[end - start - self._window : end - start]
                if np.abs(window).max() < SILENCE_PEAK:
                    self._sum, self._weight = 0.0, 0.0
                else:
                    predictions.append(self._say(window))
            self._hop += 1
        self._last = audio[-self._window :].copy()  # a view would keep all of `audio`
        return predictions

    def _say(self, window: np.ndarray) -> Prediction:
        probabilities = self._predict(window, self.sample_rate_hz)
        self._sum = self._decay * self._sum + np.array(list(probabilities.values()))
        self._weight = self._decay * self._weight + 1
        smooth = (self._sum / self._weight).tolist()
        return Prediction(
            self._hop * self.hop_seconds, dict(zip(probabilities, smooth, strict=True))
        )
