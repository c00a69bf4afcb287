"""What tests and the examples of docstrings share: a small corpus, and the chain made from it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from _pytest.doctest import DoctestItem

SHIPPED = Path(__file__).parent / "models" / "emodb" / "cnn_tdnn_int8.tflite"


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
    from ser_nsl.corpora import SplitConfig, prepare_corpus

    out = tmp_path_factory.mktemp("tone_manifest") / "manifest.csv"
    split = SplitConfig("speaker-independent", seed=1)
    prepare_corpus(corpus="ravdess", audio_dir=tone_corpus, out=out, split=split)
    return out


@pytest.fixture(scope="session")
def finished_chain(tone_corpus, tmp_path_factory) -> Path:
    """A folder in which each step of the chain has left what it makes, from tones in `audio`.

    `manifest.csv`, `features`, `upstream` (a tiny untrained one), `embeddings` (MFCC statistics),
    `graph.tsv`, `training`, `model` (the smallest network, untrained), and `recogniser.tflite`,
    which is one of those that ship.
    """
    from benchmarks.random_upstream import make_upstream
    from ser_nsl.audio import Description, extract_features
    from ser_nsl.corpora import SplitConfig, prepare_corpus
    from ser_nsl.embeddings import extract_mfccs
    from ser_nsl.graph import build_graph, pack_neighbors
    from ser_nsl.networks import NETWORKS, save_model

    root = tmp_path_factory.mktemp("chain")
    shutil.copytree(tone_corpus, root / "audio")
    manifest, features, model = root / "manifest.csv", root / "features", root / "model"
    split = SplitConfig("speaker-independent", seed=1)
    prepare_corpus(corpus="ravdess", audio_dir=root / "audio", out=manifest, split=split)
    extract_features(manifest=manifest, out=features, clip_seconds=0.6)
    extract_mfccs(manifest=manifest, out=root / "embeddings")
    graph = root / "graph.tsv"
    build_graph(embeddings=root / "embeddings", out=graph, similarity_threshold=0.0)
    pack_neighbors(features=features, graph=graph, out=root / "training")
    description = Description.load(features)
    model.mkdir()
    save_model(NETWORKS["mobilenet15"](description), description, model)
    make_upstream(out=root / "upstream", hidden_size=16, layers=1, channels=8)
    shutil.copy(SHIPPED, root / "recogniser.tflite")
    return root


@pytest.fixture(autouse=True)
def _examples_run_in_a_finished_chain(request, monkeypatch, tmp_path):
    """The examples of docstrings find `manifest.csv`, `features` and the rest where they run."""
    if isinstance(request.node, DoctestItem):
        chain = request.getfixturevalue("finished_chain")
        monkeypatch.chdir(shutil.copytree(chain, tmp_path / "chain"))
