from pathlib import Path

import pytest

from benchmarks.random_upstream import make_upstream
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.corpora.settings import CorpusConfig
from ser_nsl.pipeline.sweep_config import Fold, Grid, SweepConfig
from ser_nsl.training.settings import TrainingConfig
from tests.pipeline import stages
from tests.pipeline.stages import collect


@pytest.fixture(scope="session")
def tiny(tone_corpus, tmp_path_factory) -> SweepConfig:
    """Two folds of six actors, one fast network."""
    upstream = tmp_path_factory.mktemp("upstream") / "random"
    make_upstream(out=upstream, hidden_size=16, layers=1, channels=8, seed=0)
    return SweepConfig(
        name="tiny",
        title="Tiny",
        target=CorpusConfig("ravdess", audio_dir=Path(tone_corpus)),
        folds=[Fold(("01",), ("02",)), Fold(("03", "04"), ("05", "06"))],
        grids={
            "main": Grid(
                arms=("base", "nsl", "random"), networks=("cnn6",), seeds=(0,), folds=(1,)
            ),
            "controls": Grid(
                arms=("pseudo_labels_probe", "purity_50"),
                networks=("cnn6",),
                n=(2,),
                label_shares=(0.5,),
                seeds=(),
                folds=(1,),
            ),
        },
        default=("main",),
        trials={"plain": {}, "fast": {"learning_rate": 0.01}},
        upstream=str(upstream),
        clip_seconds=0.6,
        front_end=FrontEndConfig(mel_bins=16),
        training=TrainingConfig(epochs=2),
    )


@pytest.fixture
def source(tmp_path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("hello")
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "sub" / "b.txt").write_text("b")
    return folder


@pytest.fixture
def made(tmp_path, source) -> Path:
    """A folder that `collect` has made."""
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "a.txt").write_text("a")
    collect(folder=tmp_path / "given", out=tmp_path / "made")
    return tmp_path / "made"


@pytest.fixture
def trouble(monkeypatch):
    """Makes `collect` fail after its first file."""

    def arrange(error: BaseException) -> None:
        def fail(path: Path) -> None:
            raise error

        monkeypatch.setattr(stages, "look_at", fail)

    return arrange
