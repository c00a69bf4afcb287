"""Recognises audio as it comes, in chunks of any size."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ser_nsl.audio.clip import SILENCE_PEAK, mix
from ser_nsl.audio.samples import as_float, check_rate
from ser_nsl.edge.adaptation import Adaptation
from ser_nsl.errors import InputError


class Prediction(NamedTuple):
    """A prediction of a stream.

    Attributes:
        time_seconds: Seconds of audio from the start of the stream to the end of the window.
        probabilities: Probability of each label, in [0, 1]; their sum is 1.

    Example:
        >>> Prediction(3.0, {"anger": 0.75, "neutral": 0.25}).probabilities["anger"]
        0.75
    """

    time_seconds: float
    probabilities: dict[str, float]


class Stream:
    """Predictions for endless audio, from a window that moves on by hops.

    `Recognizer.stream` makes it. At every multiple of `hop_seconds`, the last window is recognised
    as `predict` would recognise it as a clip. Nothing is predicted before the first window is
    full: half a second of speech, repeated to the length of the window, gives a confident answer
    of little worth. For the same reason a silent window has no prediction. The size of the chunks
    changes nothing.

    A stream must not be used by two threads at once. It keeps one window of audio in memory,
    however long it runs.

    Attributes:
        sample_rate_hz: Sample rate of the chunks.
        window_seconds: Length of the audio behind one prediction.
        hop_seconds: Time from one prediction to the next.
        smoothing_seconds: Age at which a prediction's weight has fallen to 1/e; 0 for no smoothing.

    Example:
        >>> from ser_nsl.edge import Recognizer
        >>> stream = Recognizer("recogniser.tflite").stream(8_000, hop_seconds=1)
        >>> noise = np.random.default_rng(0).uniform(-0.1, 0.1, 40_000)
        >>> [time_seconds for time_seconds, probabilities in stream.feed(noise)]
        [3, 4, 5]
    """

    def __init__(
        self,
        predict: Callable[[np.ndarray, float], dict[str, float]],
        window_seconds: float,
        sample_rate_hz: float,
        *,
        hop_seconds: float,
        smoothing_seconds: float,
        adaptation: Adaptation | None = None,
    ) -> None:
        """Starts a stream.

        Args:
            predict: Function that returns the probabilities of a window, float32 of shape
                `(samples,)`, at a sample rate.
            window_seconds: Length of the window.
            sample_rate_hz: Sample rate of the chunks, from 1,000 to 1,000,000.
            hop_seconds: Time from one prediction to the next, at least one sample.
            smoothing_seconds: Age at which a prediction's weight has fallen to 1/e, at least 0.
            adaptation: The speaker, learned from each window, to which its answer is adapted.

        Raises:
            InputError: If a number is outside its range.
        """
        check_rate(sample_rate_hz)
        if not 1 / sample_rate_hz <= hop_seconds < math.inf:
            raise InputError(
                f"hop_seconds: must be finite and at least one sample; received {hop_seconds} at "
                f"{sample_rate_hz} Hz."
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
        self._adaptation = adaptation
        self._window_samples = math.ceil(window_seconds * sample_rate_hz)
        self._decay = math.exp(-hop_seconds / smoothing_seconds) if smoothing_seconds else 0.0
        self._channels: int | None = None
        self._last = np.zeros(0, np.float32)  # up to one window
        self._received = 0  # samples since the stream started
        self._hop = 1  # number of the next hop
        self._heard = 0  # samples up to the end of the last window
        self._sum: np.ndarray | float = 0.0  # of weighted probabilities
        self._weight = 0.0

    def feed(self, samples: np.ndarray) -> list[Prediction]:
        """Takes the next chunk.

        Args:
            samples: Any number of samples, also none, as `Recognizer.predict` takes them. Chunks
                of int16 and of float may alternate; the number of channels must stay the same.

        Returns:
            The predictions that this chunk completes. That of the n-th hop is for the window that
            ends n times `hop_seconds` after the start, to the nearest sample. Each is the mean of
            those since the last silent window, with weights exp(-age / `smoothing_seconds`).
            Windows with a peak below `ser_nsl.audio.SILENCE_PEAK` have none.

        Raises:
            InputError: If `samples` cannot be used or has another number of channels than
                before. The stream is then as it was before the call.
        """
        waveform = as_float(samples)
        channels = waveform.shape[1] if waveform.ndim == 2 else 1
        if self._channels not in (None, channels):
            raise InputError(
                f"samples: must keep {self._channels} channel(s); received {channels}."
            )
        if not len(waveform):
            return []
        self._channels = channels
        mono = mix(waveform)
        audio = np.concatenate([self._last, mono])
        start = self._received - len(self._last)  # of `audio`, in samples of the stream
        self._received += len(mono)
        predictions = []
        while (end := round(self._hop * self.hop_seconds * self.sample_rate_hz)) <= self._received:
            if end >= self._window_samples:
                window = audio[end - start - self._window_samples : end - start]
                if np.abs(window).max() < SILENCE_PEAK:
                    self._sum, self._weight = 0.0, 0.0
                else:
                    smooth = self._smooth(self._answer(window, end))
                    predictions.append(Prediction(self._hop * self.hop_seconds, smooth))
                self._heard = end
            self._hop += 1
        self._last = audio[-self._window_samples :].copy()  # a view would keep all of `audio`
        return predictions

    def _answer(self, window: np.ndarray, end: int) -> dict[str, float]:
        """Returns the answer for a window that ends at a sample, adapted to the speaker."""
        probabilities = self._predict(window, self.sample_rate_hz)
        if self._adaptation is None:
            return probabilities
        fresh = min(end - self._heard, len(window)) / self.sample_rate_hz
        self._adaptation.learn(probabilities, fresh)
        return self._adaptation.adapt(probabilities)

    def _smooth(self, probabilities: dict[str, float]) -> dict[str, float]:
        """Returns the weighted mean of these probabilities and the earlier ones."""
        self._sum = self._decay * self._sum + np.array(list(probabilities.values()))
        self._weight = self._decay * self._weight + 1
        return dict(zip(probabilities, (self._sum / self._weight).tolist(), strict=True))
