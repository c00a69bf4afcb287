import filecmp
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser_nsl.audio import ShardWriter, embedding_example, extract_features, read_embeddings
from ser_nsl.audio.resplit import resplit_records
from ser_nsl.corpora.manifest import read_manifest, write_manifest
from ser_nsl.embeddings import extract_mfccs
from ser_nsl.errors import InputError


@pytest.fixture(scope="module")
def manifests(tone_corpus, tone_manifest, tmp_path_factory) -> dict[str, Path]:
    """One manifest and two others of the same clips: other splits, and one without validation."""
    folder = tmp_path_factory.mktemp("manifests")
    table = read_manifest(tone_manifest)
    turned = table["split"].map({"train": "test", "val": "train", "test": "val"})
    divisions = {"given": table["split"], "turned": turned}
    divisions["no_val"] = turned.replace("val", "train")
    paths = {}
    for name, splits in divisions.items():
        paths[name] = folder / f"{name}.csv"
        write_manifest(table.assign(split=splits), paths[name])
    return paths


def assert_same_files(one: Path, two: Path) -> None:
    names = sorted(path.name for path in one.iterdir() if path.name != "stage.json")
    assert names == sorted(path.name for path in two.iterdir() if path.name != "stage.json")
    assert filecmp.cmpfiles(one, two, names, shallow=False)[1:] == ([], [])


@pytest.mark.parametrize("division", ["turned", "no_val"])
def test_features_are_those_that_the_manifest_would_have_given(
    division, manifests, tone_corpus, tmp_path
):
    made, again, direct = (tmp_path / name for name in ("made", "again", "direct"))
    extract_features(manifest=manifests["given"], out=made, audio_dir=tone_corpus)
    extract_features(manifest=manifests[division], out=direct, audio_dir=tone_corpus)

    resplit_records(records=made, manifest=manifests[division], out=again)

    assert_same_files(again, direct)


def test_embeddings_are_divided_and_splits_chosen(manifests, tmp_path):
    table, made, again = read_manifest(manifests["given"]), tmp_path / "made", tmp_path / "again"
    made.mkdir()
    vectors = dict(
        zip(table["utterance_id"], np.random.default_rng(0).random((len(table), 3)), strict=True)
    )
    for split, rows in table.groupby("split"):
        with ShardWriter(made, split, 2) as writer:
            for key in rows["utterance_id"]:
                writer.write(embedding_example(key, vectors[key].astype(np.float32), "abc:fc1"))

    resplit_records(records=made, manifest=manifests["turned"], out=again, splits=("train",))

    divided = read_embeddings(again, ["train"])
    turned = read_manifest(manifests["turned"])
    assert list(divided) == [
        *turned["utterance_id"][turned["split"] == "train"].iloc[::2],
        *turned["utterance_id"][turned["split"] == "train"].iloc[1::2],
    ]
    assert all(np.array_equal(divided[key], vectors[key].astype(np.float32)) for key in divided)
    assert not list(again.glob("test-*"))


def test_mfccs_are_standardised_over_the_new_training_clips(manifests, tone_corpus, tmp_path):
    made, again, direct = (tmp_path / name for name in ("made", "again", "direct"))
    every = {"splits": ("train", "val", "test"), "audio_dir": tone_corpus}
    extract_mfccs(manifest=manifests["given"], out=made, **every)
    extract_mfccs(manifest=manifests["turned"], out=direct, **every)

    resplit_records(records=made, manifest=manifests["turned"], out=again, standardise=True)

    expected = read_embeddings(direct, every["splits"])
    divided = read_embeddings(again, every["splits"])
    assert list(divided) == list(expected)
    for key, vector in expected.items():
        np.testing.assert_allclose(divided[key], vector, rtol=1e-4, atol=1e-5)


def test_clips_without_a_record_are_named(manifests, tone_corpus, tmp_path):
    made, more = tmp_path / "made", tmp_path / "more.csv"
    extract_mfccs(manifest=manifests["given"], out=made, audio_dir=tone_corpus)
    table = read_manifest(manifests["given"])
    extra = table.iloc[:1].assign(utterance_id="zz", speaker="99")
    write_manifest(pd.concat([table, extra]), more)

    with pytest.raises(InputError, match=r"made lacks 25 clips of .*more\.csv"):
        resplit_records(records=made, manifest=more, out=tmp_path / "again")
