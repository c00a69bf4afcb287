from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_nsl.corpora import prepare_corpus
from ser_nsl.corpora.settings import SplitConfig

SHARED = Path(__file__).parents[2] / "shared"


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
def tone_corpus(tmp_path_factory) -> Path:
    """Tones in the layout of RAVDESS: six actors, three emotions, two takes. Not to be changed."""
    root = tmp_path_factory.mktemp("tones")
    random = np.random.default_rng(0)
    for actor in range(1, 7):
        folder = root / f"Actor_{actor:02d}"
        folder.mkdir()
        for emotion, hertz in (("01", 200), ("04", 400), ("05", 800)):
            for take in ("01", "02"):
                time = np.arange(random.integers(4_000, 8_000)) / 16_000
                tone = 0.5 * np.sin(2 * np.pi * (hertz + 20 * actor) * time)
                noise = random.normal(0, 0.01, len(time))
                name = f"03-01-{emotion}-01-01-{take}-{actor:02d}.wav"
                soundfile.write(folder / name, tone + noise, 16_000, subtype="PCM_16")
    return root


@pytest.fixture(scope="session")
def tone_manifest(tone_corpus, tmp_path_factory) -> Path:
    """One actor of each gender trains, one validates, one tests."""
    out = tmp_path_factory.mktemp("tone_manifest") / "manifest.csv"
    prepare_corpus(corpus="ravdess", audio_dir=tone_corpus, out=out, split=SplitConfig(seed=1))
    return out
