import numpy as np
import pandas as pd
import pytest

from ser_nsl.audio.records import ShardWriter, embedding_example, read_embeddings, read_upstream
from ser_nsl.corpora.manifest import COLUMNS, write_manifest
from ser_nsl.embeddings.center import center_embeddings
from ser_nsl.errors import InputError

CLIPS = {  # speaker, split, embedding
    "a": ("anna", "train", (1.0, 2.0)),
    "b": ("anna", "train", (3.0, 6.0)),
    "c": ("bert", "train", (0.0, -1.0)),
    "d": ("bert", "train", (10.0, 3.0)),
    "e": ("carl", "val", (5.0, 5.0)),
    "f": ("carl", "val", (7.0, 1.0)),
}


@pytest.fixture
def embeddings(tmp_path):
    folder = tmp_path / "embeddings"
    folder.mkdir()
    for split in ("train", "val"):
        with ShardWriter(folder, split, 2) as writer:
            for name, (_, own_split, vector) in CLIPS.items():
                if own_split == split:
                    writer.write(embedding_example(name, np.float32(vector), "0123:fc1"))
    return folder


@pytest.fixture
def manifest(tmp_path):
    return make_manifest(tmp_path, {name: speaker for name, (speaker, _, _) in CLIPS.items()})


def make_manifest(folder, speakers):
    rows = [
        dict.fromkeys(COLUMNS, "")
        | {"utterance_id": name, "path": f"{name}.wav", "speaker": speaker}
        | {"emotion": "joy", "split": CLIPS[name][1], "duration_seconds": 1.0, "corpus": "csv"}
        for name, speaker in speakers.items()
    ]
    write_manifest(pd.DataFrame(rows), folder / "manifest.csv")
    return folder / "manifest.csv"


def test_speakers_lose_their_own_mean(embeddings, manifest, tmp_path):
    out = tmp_path / "out"
    result = center_embeddings(embeddings=embeddings, manifest=manifest, out=out)

    assert result.counts == {"train": 4, "val": 2, "speakers": 3}
    found = read_embeddings(out, ["train", "val"])
    expected = {"a": (-1, -2), "b": (1, 2), "c": (-5, -2), "d": (5, 2), "e": (-1, 2), "f": (1, -2)}
    assert found.keys() == expected.keys()
    for name, vector in expected.items():
        np.testing.assert_allclose(found[name], vector, atol=1e-6)
    assert read_upstream(out, "val") == "0123:fc1-speaker"


def test_corpus_loses_the_mean_of_its_training_clips(embeddings, manifest, tmp_path):
    out = tmp_path / "out"
    center_embeddings(embeddings=embeddings, manifest=manifest, out=out, by="corpus")

    for name, vector in read_embeddings(out, ["train", "val"]).items():
        np.testing.assert_allclose(vector, np.subtract(CLIPS[name][2], (3.5, 2.5)), atol=1e-6)


def test_clips_that_cannot_be_centered_are_named(embeddings, tmp_path):
    known = {name: speaker for name, (speaker, _, _) in CLIPS.items()}
    without = {name: speaker for name, speaker in known.items() if name != "c"}
    for speakers, message in (
        (without, "lacks 1 clips .*first: c"),
        (known | {"e": "", "f": ""}, "2 clips .* have no speaker .*first: e, f"),
        (known | {"d": "dora"}, "2 speakers .* single clip.*first: bert, dora"),
    ):
        with pytest.raises(InputError, match=message):
            center_embeddings(
                embeddings=embeddings,
                manifest=make_manifest(tmp_path, speakers),
                out=tmp_path / "out",
            )
    assert not (tmp_path / "out").exists()


def test_a_folder_without_embeddings_is_refused(manifest, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="none holds no records"):
        center_embeddings(embeddings=tmp_path / "none", manifest=manifest, out=tmp_path / "out")
