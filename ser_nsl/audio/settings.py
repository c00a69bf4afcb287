"""The settings of the front end, from waveform to log Mel."""

from dataclasses import dataclass
from typing import Literal, get_args

from ser_nsl.errors import InputError
from ser_nsl.pipeline.settings import check

Level = Literal["clip", "none"]
"""What the decibels of log Mel are relative to."""

LONGEST_SECONDS = 3600
"""Length of the longest clips."""

_MOST = 1_000_000  # samples of a second or a window


@dataclass(frozen=True)
class FrontEndConfig:
    """Settings of the front end, from waveform to log Mel.

    Attributes:
        sample_rate_hz: Sample rate of the waveform.
        window_samples: Length of the Hann window and of the Fourier transform.
        hop_samples: Step from frame to frame.
        mel_bins: Number of Mel bands.
        low_hz: Lower edge of the lowest band.
        high_hz: Upper edge of the highest band, at most half the sample rate.
        level: What decibels are relative to: `clip`, the level of the clip itself, so that neither
            the gain of a microphone nor the distance to it matters; or `none`, full scale.

    Raises:
        ValueError: If a setting is out of its range.

    Example:
        >>> FrontEndConfig(mel_bins=40).frames(16_000)
        61
    """

    sample_rate_hz: int = 16_000
    window_samples: int = 512
    hop_samples: int = 256
    mel_bins: int = 64
    low_hz: float = 0.0
    high_hz: float = 8_000.0
    level: Level = "clip"

    def __post_init__(self) -> None:
        rate, window, hop = self.sample_rate_hz, self.window_samples, self.hop_samples
        for name in ("sample_rate_hz", "window_samples", "hop_samples", "mel_bins"):
            check(isinstance(getattr(self, name), int), name, "an integer", getattr(self, name))
        check(0 < rate <= _MOST, "sample_rate_hz", f"1 to {_MOST}", rate)
        check(1 < window <= _MOST, "window_samples", f"2 to {_MOST}", window)
        check(0 < hop <= window, "hop_samples", "between 1 and window_samples", hop)
        check(0 < self.mel_bins <= window, "mel_bins", "1 to window_samples", self.mel_bins)
        low, high = self.low_hz, self.high_hz
        rising = 0 <= low < high <= rate / 2
        check(rising, "low_hz, high_hz", "rising and at most half the sample rate", (low, high))
        check(self.level in get_args(Level), "level", f"one of {get_args(Level)}", self.level)

    def clip_samples(self, seconds: float) -> int:
        """Converts the length of clips.

        Args:
            seconds: Length of clips in seconds.

        Returns:
            The length in samples.

        Raises:
            InputError: If that is less than one window, or more than an hour.

        Example:
            >>> FrontEndConfig().clip_samples(2.0)
            32000
        """
        if not self.window_samples / self.sample_rate_hz <= seconds <= LONGEST_SECONDS:
            least = f"{self.window_samples / self.sample_rate_hz:.3f}"
            raise InputError(
                f"clip_seconds: must be {least} (one window) to {LONGEST_SECONDS}; received "
                f"{seconds:g}."
            )
        return round(seconds * self.sample_rate_hz)

    def frames(self, samples: int) -> int:
        """Returns the number of whole windows in a number of samples."""
        return max(0, (samples - self.window_samples) // self.hop_samples + 1)
