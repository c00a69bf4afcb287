"""What sets the way from waveform to log Mel."""

from dataclasses import dataclass

from ser_nsl.pipeline.settings import check

__all__ = ["FrontEndConfig"]


@dataclass(frozen=True)
class FrontEndConfig:
    """From waveform to log Mel.

    Attributes:
        sample_rate_hz: Sample rate of the waveform.
        window_samples: Length of the Hann window and of the Fourier transform.
        hop_samples: Step from frame to frame.
        mel_bins: Number of Mel bands.
        low_hz: Lower edge of the lowest band.
        high_hz: Upper edge of the highest band, at most half the sample rate.
    """

    sample_rate_hz: int = 16_000
    window_samples: int = 512
    hop_samples: int = 256
    mel_bins: int = 64
    low_hz: float = 0.0
    high_hz: float = 8_000.0

    def __post_init__(self) -> None:
        check(self.sample_rate_hz > 0, "sample_rate_hz", "positive", self.sample_rate_hz)
        check(self.window_samples > 1, "window_samples", "at least 2", self.window_samples)
        check(
            0 < self.hop_samples <= self.window_samples,
            "hop_samples",
            "between 1 and window_samples",
            self.hop_samples,
        )
        check(self.mel_bins > 0, "mel_bins", "positive", self.mel_bins)
        check(
            0 <= self.low_hz < self.high_hz <= self.sample_rate_hz / 2,
            "low_hz, high_hz",
            "rising and at most half the sample rate",
            (self.low_hz, self.high_hz),
        )

    def frames(self, samples: int) -> int:
        """Number of whole windows in so many samples."""
        return max(0, (samples - self.window_samples) // self.hop_samples + 1)
