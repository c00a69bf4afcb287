"""What an experiment is: frozen dataclasses, checked when made, read from one YAML file.

The files in `ser_nsl/configs` are experiments; `load_experiment` finds them by name.
"""

from dataclasses import dataclass
from pathlib import Path


def _check(holds: bool, name: str, rule: str, value: object) -> None:
    """Refuses a setting in one form of words."""
    if not holds:
        raise ValueError(f"{name} must be {rule}; received {value!r}")


_SPLIT_METHODS = (
    "speaker-independent",
    "leave-one-speaker-out",
    "paper",
    "count-equivalent",
    "lists",
    "given",
    "clips",
)


@dataclass(frozen=True)
class SplitConfig:
    """How clips are divided into train, val and test.

    Attributes:
        method: `speaker-independent` (seeded, each gender alike), `leave-one-speaker-out`,
            `paper` (RAVDESS, the paper's own), `count-equivalent` (DEMoS, lists that reproduce
            the paper's counts), `lists` (a JSON file of speakers), `given` (a column of the
            CSV table), or `clips` (for corpora without known speakers).
        seed: For `speaker-independent` and `clips`.
        test_share: Share of the speakers (of each gender) that test, 0 to 1.
        val_share: Share of the remaining speakers that validate, 0 to 1.
        fold: For `leave-one-speaker-out`: which speaker tests, from 0, in alphabetical order.
        alternative: For `count-equivalent`: which list, 0 (default) to 10.
        lists: For `lists`: file of the form {"train": [...], "val": [...], "test": [...]}.
    """

    method: str = "speaker-independent"
    seed: int = 0
    test_share: float = 0.25
    val_share: float = 0.25
    fold: int = 0
    alternative: int = 0
    lists: Path | None = None

    def __post_init__(self) -> None:
        _check(self.method in _SPLIT_METHODS, "method", f"one of {_SPLIT_METHODS}", self.method)
        _check(0 < self.test_share < 1, "test_share", "between 0 and 1", self.test_share)
        _check(0 < self.val_share < 1, "val_share", "between 0 and 1", self.val_share)
        _check(self.fold >= 0, "fold", "0 or more", self.fold)
        _check(self.alternative >= 0, "alternative", "0 or more", self.alternative)


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
        _check(self.sample_rate_hz > 0, "sample_rate_hz", "positive", self.sample_rate_hz)
        _check(self.window_samples > 1, "window_samples", "at least 2", self.window_samples)
        _check(
            0 < self.hop_samples <= self.window_samples,
            "hop_samples",
            "between 1 and window_samples",
            self.hop_samples,
        )
        _check(self.mel_bins > 0, "mel_bins", "positive", self.mel_bins)
        _check(
            0 <= self.low_hz < self.high_hz <= self.sample_rate_hz / 2,
            "low_hz, high_hz",
            "rising and at most half the sample rate",
            (self.low_hz, self.high_hz),
        )

    def frames(self, samples: int) -> int:
        """Number of whole windows in so many samples."""
        return max(0, (samples - self.window_samples) // self.hop_samples + 1)
