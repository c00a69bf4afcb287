import pytest

from ser_nsl.audio.features import Description
from ser_nsl.audio.settings import FrontEndConfig


@pytest.fixture(scope="session")
def description() -> Description:
    """Features of 40 frames x 32 bands, about the smallest that VGG-15 can halve five times."""
    mean = tuple(-40.0 - band for band in range(32))
    deviation = tuple(10.0 + band for band in range(32))
    return Description(
        FrontEndConfig(mel_bins=32), 512 + 39 * 256, ("a", "b", "c"), mean, deviation
    )
