"""The whole plan of the small upstream on tones, with a network of a few thousand weights."""

import json
import re

import numpy as np
import pytest
import soundfile

from benchmarks.mini_upstream import train
from benchmarks.mini_upstream.settings import PretrainingConfig
from ser_nsl.pipeline.stage import read_record
from ser_nsl.upstream.checkpoint import load_upstream
from ser_nsl.upstream.settings import FineTuningConfig


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
    for i in range(6):
        write(root / "unlabelled" / f"{i}.wav", 150 * (i + 1))
    for i, speaker in enumerate(("f1", "f2", "f3", "m1", "m2", "m3")):
        for emotion, hertz in (("neu", 200), ("rab", 800)):
            write(root / "emovo" / speaker / f"{emotion}-{speaker}-b1.wav", hertz + 20 * i)
    return root


@pytest.fixture
def small(monkeypatch):
    """Two folds, one epoch of each lesson."""
    monkeypatch.setattr(train, "SIZE", {"hidden_size": 16, "layers": 1, "channels": 8})
    short = {"clip_seconds": 0.25, "clusters": 4, "epochs": 1}
    monkeypatch.setattr(train, "PRETRAINING", PretrainingConfig(convolution_epochs=1, **short))
    monkeypatch.setattr(train, "ADAPTATION", PretrainingConfig(**short))
    finetuning = FineTuningConfig(epochs=1, clip_seconds=0.25, statistics=1.0, keep="last")
    monkeypatch.setattr(train, "FINETUNING", finetuning)
    monkeypatch.setattr(train, "EMOBOX_FOLDS", train.EMOBOX_FOLDS[:1])


@pytest.mark.slow
def test_the_whole_plan(speech, small, tmp_path, monkeypatch, capsys):
    out, work = tmp_path / "models" / "tiny", tmp_path / "work"
    out.mkdir(parents=True)
    (out / "TRIED.md").write_text("Larger tones.")
    arguments = {
        "ravdess": speech / "ravdess",
        "speech": speech / "unlabelled",
        "emovo": speech / "emovo",
        "work": work,
        "out": out,
    }
    train.train_mini_upstream(**arguments)

    names = {path.name for path in out.iterdir()}
    assert names == {*train.CHECKPOINT, "README.md", "TRIED.md"}
    # The clips of the test speakers have no labels in training.
    record = read_record(work / "finetuned")
    assert record["counts"]["clips"] == 2 * 18
    assert json.loads((work / "measures.json").read_text())["source"]["speakers"] == [
        "01", "02", "07", "08", "17", "18",
    ]  # fmt: skip
    fold = json.loads((work / "fold0" / "measures.json").read_text())
    assert fold["source"]["speakers"] == sorted(train.EMOBOX_FOLDS[0])
    # The shipped weights are those that were measured.
    shipped = load_upstream(str(out)).fingerprint(with_head=True)
    assert shipped == json.loads((work / "measures.json").read_text())["upstream"]
    card = (out / "README.md").read_text()
    adapted = json.loads((work / "adapted-emovo" / "measures.json").read_text())
    share = adapted["targets"]["emovo"]["other_speakers"]["upstream"]["6"]
    assert re.search(rf"\| adapted to it \|.* {share:.1%} \|", card)
    assert "Larger tones." in card
    assert str(tmp_path) not in card

    # A card that cannot be written leaves the release as it was.
    capsys.readouterr()
    monkeypatch.setattr(train, "make_upstream_card", lambda **_: 1 / 0)
    (out / "README.md").write_text("as it was")
    with pytest.raises(ZeroDivisionError):
        train.train_mini_upstream(**arguments)
    printed = capsys.readouterr().out
    assert printed.count("up to date") == len(re.findall(r"^\[", printed, re.MULTILINE))
    assert (out / "README.md").read_text() == "as it was"
