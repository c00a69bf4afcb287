import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soxr

from ser_nsl.corpora.manifest import COLUMNS, write_manifest

SHARED = Path(__file__).parents[2] / "shared"
SENTENCES = {  # pitch in Hz, words per minute, formants in per cent
    "I will not do that again!": ((150, 330), 230, 110),
    "The kettle is on the table.": ((75, 110), 120, 100),
    "We won the game, can you believe it?": ((180, 400), 190, 118),
    "Nobody came to see me.": ((90, 130), 90, 95),
}

# Jobs in the background ignore Ctrl-C, and so would the commands that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def existing(folder: Path) -> Path:
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder


@pytest.fixture(scope="session")
def shared_corpora() -> Path:
    """Real speech, which never lies in the checkout."""
    return existing(SHARED / "corpora")


@pytest.fixture(scope="session")
def shared_reference() -> Path:
    """Facts about the paper and DEMoS."""
    return existing(SHARED / "reference")


@pytest.fixture(scope="session")
def sounds_and_speech() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Sounds of every kind that is not speech, and sentences; 3 s each at 16 kHz."""
    pytest.importorskip("espeakng_loader", reason="needs pip install '.[synthetic]'")
    from ser_nsl.audio.clip import SAMPLE_RATE_HZ, fit_length
    from ser_nsl.audio.sounds import SOUNDS
    from ser_nsl.corpora.synthetic import espeak

    samples, draw = 3 * SAMPLE_RATE_HZ, np.random.default_rng(0)
    sounds = [make(samples, draw) for make in SOUNDS.values()]
    sounds = [0.5 * sound / max(np.abs(sound).max(), 1e-9) for sound in sounds]
    spoken = [espeak.speak(text, espeak.Voice("en", *how)) for text, how in SENTENCES.items()]
    spoken = [soxr.resample(each, espeak.SAMPLE_RATE_HZ, SAMPLE_RATE_HZ) for each in spoken]
    return (
        [sound.astype(np.float32) for sound in sounds],
        [fit_length(speech.astype(np.float32), samples) for speech in spoken],
    )


@pytest.fixture(scope="session")
def small_upstream(tmp_path_factory) -> Path:
    """A wav2vec 2.0 with 13,074 random weights. Tests must not change it."""
    from benchmarks.random_upstream import make_upstream

    out = tmp_path_factory.mktemp("upstream") / "random"
    make_upstream(out=out, hidden_size=16, layers=1, channels=8, seed=0)
    return out


@pytest.fixture
def make_manifest(tmp_path) -> Callable[..., Path]:
    """Returns a function that writes a manifest of clips, given as columns that differ by id."""

    def make(clips: Mapping[str, Mapping[str, str]]) -> Path:
        usual = {"speaker": "anna", "emotion": "joy", "split": "train", "duration_seconds": 1.0}
        rows = [
            dict.fromkeys(COLUMNS, "")
            | {"utterance_id": name, "path": f"{name}.wav", "corpus": "csv"}
            | usual
            | columns
            for name, columns in clips.items()
        ]
        write_manifest(pd.DataFrame(rows), tmp_path / "manifest.csv")
        return tmp_path / "manifest.csv"

    return make
