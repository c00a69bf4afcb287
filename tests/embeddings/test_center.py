from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser_nsl.audio.records import read_embeddings, read_upstream
from ser_nsl.embeddings.center import center_embeddings, check_mix
from ser_nsl.errors import InputError

CLIPS = {  # speaker, split, embedding
    "a": ("anna", "train", (1.0, 2.0)),
    "b": ("anna", "train", (3.0, 6.0)),
    "c": ("bert", "train", (0.0, -1.0)),
    "d": ("bert", "train", (10.0, 3.0)),
    "e": ("carl", "val", (5.0, 5.0)),
    "f": ("carl", "val", (7.0, 1.0)),
}
SPEAKERS = {
    name: {"speaker": speaker, "split": split} for name, (speaker, split, _) in CLIPS.items()
}


@pytest.fixture
def embeddings(write_embeddings):
    for chosen in ("train", "val"):
        vectors = {name: vector for name, (_, split, vector) in CLIPS.items() if split == chosen}
        folder = write_embeddings(vectors, split=chosen, upstream="0123:fc1")
    return folder


def test_speakers_lose_their_own_mean(embeddings, make_manifest, tmp_path):
    out = tmp_path / "out"
    result = center_embeddings(embeddings=embeddings, manifest=make_manifest(SPEAKERS), out=out)

    assert result.counts == {"train": 4, "val": 2, "speakers": 3}
    found = read_embeddings(out, ["train", "val"])
    expected = {"a": (-1, -2), "b": (1, 2), "c": (-5, -2), "d": (5, 2), "e": (-1, 2), "f": (1, -2)}
    assert found.keys() == expected.keys()
    for name, vector in expected.items():
        np.testing.assert_allclose(found[name], vector, atol=1e-6)
    assert read_upstream(out, "val") == "0123:fc1-speaker"


def test_speakers_who_tell_the_emotion_are_refused(embeddings, make_manifest, tmp_path):
    joy, fear = {"emotion": "joy"}, {"emotion": "fear"}
    one_each = {n: row | (joy if n in "ab" else fear) for n, row in SPEAKERS.items()}
    manifest = make_manifest(one_each)

    with pytest.raises(InputError, match=f"center: .* coincide in {manifest}: 2 of 2 speakers"):
        center_embeddings(embeddings=embeddings, manifest=manifest, out=tmp_path / "out")

    unlabelled = {n: row | {"emotion": "" if n in "cdef" else "joy"} for n, row in one_each.items()}
    mixed = {n: row | (joy if n in "ace" else fear) for n, row in SPEAKERS.items()}
    for clips in (unlabelled, mixed):
        center_embeddings(
            embeddings=embeddings, manifest=make_manifest(clips), out=tmp_path / "out"
        )


@pytest.mark.parametrize(
    ("purity", "singles", "refused"),
    [(1.0, 1.0, True), (0.9, 1.0, True), (0.5, 1.0, False), (1.0, 0.3, False), (0.0, 0.0, False)],
)
def test_how_much_speakers_may_tell(purity, singles, refused):
    random = np.random.default_rng(0)
    speakers = np.repeat(np.arange(20), 20)
    own = random.integers(4, size=20)[speakers]
    is_own = (speakers < 20 * singles) & (random.random(400) < purity)
    emotions = np.where(is_own, own, random.integers(4, size=400)).astype(str)
    table = pd.DataFrame({"speaker": speakers.astype(str), "emotion": emotions, "split": "train"})

    with pytest.raises(InputError, match="coincide") if refused else nullcontext():
        check_mix(table, Path("my.csv"))


@pytest.mark.parametrize(
    ("speakers", "message"),
    [
        (
            {n: row for n, row in SPEAKERS.items() if n != "c"},
            "manifest: .*lacks clips .*1; first: c",
        ),
        (
            SPEAKERS | {name: {"speaker": "", "split": "val"} for name in "ef"},
            "manifest: .*no speaker .*2; first: e, f",
        ),
        (
            SPEAKERS | {"d": {"speaker": "dora"}},
            "manifest: .*single clip.*2; first: bert, dora",
        ),
    ],
)
def test_clips_that_cannot_be_centred_are_named(
    speakers, message, embeddings, make_manifest, tmp_path
):
    with pytest.raises(InputError, match=message):
        center_embeddings(
            embeddings=embeddings, manifest=make_manifest(speakers), out=tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_splits_of_two_upstreams_are_refused(write_embeddings, make_manifest, tmp_path):
    for split, upstream in (("train", "0123:fc1"), ("val", "4567:fc1")):
        names = [name for name in CLIPS if CLIPS[name][1] == split]
        folder = write_embeddings(dict.fromkeys(names, [1.0]), split=split, upstream=upstream)

    with pytest.raises(InputError, match="upstream.*here 0123:fc1"):
        center_embeddings(embeddings=folder, manifest=make_manifest(SPEAKERS), out=tmp_path / "out")


def test_a_folder_without_embeddings_is_refused(make_manifest, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="embeddings: .*none"):
        center_embeddings(
            embeddings=tmp_path / "none", manifest=make_manifest(SPEAKERS), out=tmp_path / "out"
        )
