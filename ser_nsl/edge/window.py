"""What a recogniser hears in a recording, window by window, and altogether."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

NO_SPEECH = "no speech"
"""Label of recordings that hold none."""

NOT_SURE = "not sure"
"""Answer where the most probable emotion is more likely wrong than right."""


class Window(NamedTuple):
    """A part of a recording, as long as the recogniser's input.

    Attributes:
        start_seconds: Its start, in seconds from that of the recording.
        end_seconds: Its end.
        probabilities: Probability of each label, in [0, 1]; None for silence.

    Example:
        >>> Window(0.0, 3.0, {"anger": 0.75, "neutral": 0.25}).probabilities["anger"]
        0.75
    """

    start_seconds: float
    end_seconds: float
    probabilities: dict[str, float] | None

    @property
    def has_speech(self) -> bool:
        """Whether speech is at least as probable as none."""
        return self.probabilities is not None and is_speech(self.probabilities)


def is_speech(probabilities: Mapping[str, float]) -> bool:
    """Returns whether speech is at least as probable as none."""
    return probabilities.get(NO_SPEECH, 0) <= 0.5


def average(windows: Sequence[Window]) -> dict[str, float] | None:
    """Averages the probabilities of a recording.

    Args:
        windows: Windows of one recording.

    Returns:
        The mean over the windows with speech; over those without, if none has any; None for silence
        alone.

    Example:
        >>> average([
        ...     Window(0, 3, {"anger": 0.8, "neutral": 0.2}),
        ...     Window(1.5, 4.5, {"anger": 0.4, "neutral": 0.6}),
        ...     Window(3, 6, None),
        ... ])
        {'anger': 0.6, 'neutral': 0.4}
    """
    spoken = [window for window in windows if window.has_speech] or windows
    heard = [window.probabilities for window in spoken if window.probabilities is not None]
    if not heard:
        return None
    means = np.mean([[*each.values()] for each in heard], axis=0)
    return dict(zip(heard[0], means.round(9).tolist(), strict=True))
