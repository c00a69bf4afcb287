import filecmp
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser_nsl.audio import extract_features, read_embeddings, resplit_records
from ser_nsl.corpora.manifest import read_manifest, write_manifest
from ser_nsl.embeddings import extract_mfccs
from ser_nsl.errors import InputError
from ser_nsl.pipeline.record import read_record
from ser_nsl.upstream import extract_embeddings


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
    settings = {"audio_dir": tone_corpus, "clip_seconds": 0.4, "shards": 2}
    extract_features(manifest=manifests["given"], out=made, **settings)
    extract_features(manifest=manifests[division], out=direct, **settings)

    resplit_records(records=made, manifest=manifests[division], out=again)

    assert_same_files(again, direct)


def test_embeddings_are_those_that_the_manifest_would_have_given(
    manifests, small_upstream, tone_corpus, tmp_path
):
    made, again, direct = (tmp_path / name for name in ("made", "again", "direct"))
    # One clip per step: in another batch the last bits of an embedding might differ.
    settings = {"audio_dir": tone_corpus, "clip_seconds": 0.1, "batch_size": 1, "shards": 2}
    settings["upstream"] = str(small_upstream)
    every = ("train", "val", "test")
    extract_embeddings(manifest=manifests["given"], out=made, splits=every, **settings)
    extract_embeddings(manifest=manifests["no_val"], out=direct, splits=("train",), **settings)

    # Paths may be text, and are recorded as inputs all the same.
    resplit_records(
        records=str(made), manifest=manifests["no_val"], out=again, splits=("train", "val")
    )

    assert_same_files(again, direct)
    assert read_record(again)["paths"]["records"] == str(made)


def test_mfccs_are_standardised_over_the_new_training_clips(manifests, tone_corpus, tmp_path):
    made, again, direct = (tmp_path / name for name in ("made", "again", "direct"))
    every = {"splits": ("train", "val", "test"), "audio_dir": tone_corpus, "shards": 1}
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

    with pytest.raises(InputError, match=r"made lacks clips of .*more\.csv \(25;"):
        resplit_records(records=made, manifest=more, out=tmp_path / "again")
