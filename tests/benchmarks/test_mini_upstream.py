"""The whole recipe of the small upstreams on tones, with networks of a few thousand weights."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.mini_upstream import train
from ser_nsl.errors import InputError
from ser_nsl.pipeline.record import read_record
from ser_nsl.upstream.checkpoint import load_upstream
from ser_nsl.upstream.settings import (
    DistillationConfig,
    FineTuningConfig,
    HeadConfig,
    StudentConfig,
)

TEACHER = Path(__file__).parents[1] / "upstream" / "fixtures" / "whisper"
CHECKPOINT = {"config.json", "preprocessor_config.json", "model.safetensors", "README.md"}
HEAD = {"emotion_head.json", "emotion_head.safetensors"}


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """RAVDESS's names with 24 actors, speech without labels, and EMOVO's names."""
    root = tmp_path_factory.mktemp("speech")
    random = np.random.default_rng(0)

    def write(path, hertz):
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = 0.4 * np.sin(2 * np.pi * hertz * np.arange(4_000) / 16_000)
        soundfile.write(path, tone + random.normal(0, 0.02, 4_000), 16_000, subtype="PCM_16")

    for actor in range(1, 25):
        for emotion, hertz in (("01", 200), ("05", 800)):
            name = f"03-01-{emotion}-01-01-01-{actor:02d}.wav"
            write(root / "ravdess" / f"Actor_{actor:02d}" / name, hertz + 5 * actor)
    for i in range(8):
        write(root / "unlabelled" / f"{i}.wav", 150 * (i + 1))
    for i, speaker in enumerate(("f1", "f2", "f3", "m1", "m2", "m3")):
        for emotion, hertz in (("neu", 200), ("rab", 800)):
            write(root / "emovo" / speaker / f"{emotion}-{speaker}-b1.wav", hertz + 20 * i)
    return root


@pytest.fixture
def small(monkeypatch):
    """One fold, one epoch of each lesson."""
    student = StudentConfig(width=16, layers=1, channels=8)
    distillation = DistillationConfig(
        layers=(1, 2), student=student, epochs=1, batch_size=2, window_seconds=0.5
    )
    monkeypatch.setattr(train, "DISTILLATION", distillation)
    monkeypatch.setattr(train, "HEAD", HeadConfig(epochs=1, clip_seconds=0.25))
    monkeypatch.setattr(train, "FINETUNING", FineTuningConfig(epochs=1, clip_seconds=0.25))
    monkeypatch.setattr(train, "CLIP_SECONDS", 0.25)
    monkeypatch.setattr(train, "EMOBOX_FOLDS", range(1))


@pytest.mark.slow
def test_the_whole_recipe(speech, small, tmp_path, monkeypatch, capsys):
    out, work = tmp_path / "models", tmp_path / "work"
    (out / train.TUNED).mkdir(parents=True)
    (out / train.TUNED / "TRIED.md").write_text("Larger tones.")
    arguments = {
        "teacher": str(TEACHER),
        "speech": speech / "unlabelled",
        "ravdess": speech / "ravdess",
        "emovo": speech / "emovo",
        "work": work,
        "out": out,
    }
    train.train_mini_upstream(**arguments)

    names = {name: {path.name for path in (out / name).iterdir()} for name in train.FORMS}
    assert names == {
        train.ENCODER: CHECKPOINT,
        train.TUNED: CHECKPOINT | HEAD | {"TRIED.md"},
    }
    # The encoder knows no label, and its weights are halves.
    encoder, tuned = (load_upstream(str(out / name)) for name in train.FORMS)
    assert encoder.head is None
    taught = load_upstream(str(work / "student"))
    assert encoder.fingerprint(with_head=False) == taught.fingerprint(with_head=False)
    # The shipped weights are those that were measured.
    measures = json.loads((work / "measures.json").read_text())
    assert f"{tuned.fingerprint(with_head=True)}:fc1" in measures["embeddings"].values()
    assert measures["targets"].keys() == {"emovo"}
    (scores,) = measures["source"].values()
    assert scores["speakers"] == ["01", "02", "07", "08", "17", "18"]
    assert read_record(work / "head")["counts"]["clips"] == 2 * 10
    assert read_record(work / "fold0" / "head")["counts"]["clips"] == 2 * 16
    card = (out / train.TUNED / "README.md").read_text()
    assert f"| {scores['uar']:.1%} |" in card
    fold = read_record(work / "fold0" / "head")["counts"]["test_uar"]
    assert f"Fold by fold, UAR: {fold}." in card
    assert "Larger tones." in card
    assert str(tmp_path) not in card

    # A card that cannot be written leaves the release as it was.
    capsys.readouterr()
    monkeypatch.setattr(train, "make_upstream_card", lambda **_: 1 / 0)
    (out / train.TUNED / "README.md").write_text("as it was")
    with pytest.raises(ZeroDivisionError):
        train.train_mini_upstream(**arguments)
    printed = capsys.readouterr().out
    assert printed.count("up to date") == len(re.findall(r"^\[", printed, re.MULTILINE))
    assert (out / train.TUNED / "README.md").read_text() == "as it was"


def test_a_student_that_is_not_finished_is_refused(speech, tmp_path):
    with pytest.raises(InputError, match=f"student: {tmp_path} is no finished result"):
        train.train_mini_upstream(
            speech=speech / "unlabelled",
            ravdess=speech / "ravdess",
            student=tmp_path,
            work=tmp_path / "work",
        )
    assert not (tmp_path / "work").exists()
