"""Poisoned records: each goes to the dead letters with its id and a reason, the others go on."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("apache_beam")
pytest.importorskip("google_crc32c")

from ser_nsl.audio.records import embedding_example, feature_example
from ser_nsl.errors import InputError

IDS = [f"clip {i:02d}" for i in range(40)]


def vector(*, width: int = 8) -> np.ndarray:
    return np.arange(1, width + 1, dtype=np.float32)


def raw_embedding(utterance_id: str, values: np.ndarray, upstream: str = "u:fc1") -> bytes:
    return embedding_example(utterance_id, values, upstream).SerializeToString()


def nameless() -> bytes:
    example = embedding_example("x", vector(), "u:fc1")
    del example.features.feature["id"]
    return example.SerializeToString()


def not_utf8() -> bytes:
    example = embedding_example("x", vector(), "u:fc1")
    example.features.feature["id"].bytes_list.value[:] = [b"\xff"]
    return example.SerializeToString()


def unlabelled_feature(utterance_id: str) -> bytes:
    example = feature_example(utterance_id, np.ones((2, 3), np.float32), 0)
    del example.features.feature["label"]
    return example.SerializeToString()


def raw_feature(utterance_id: str, logmel: np.ndarray) -> bytes:
    return feature_example(utterance_id, logmel.astype(np.float32), 0).SerializeToString()


NAN = np.full(8, np.nan, np.float32)
POISONED_EMBEDDINGS = [
    (b"\xff\xff\xff", "", "is no tf.train.Example"),
    (nameless(), "", "has no id"),
    (not_utf8(), "", "is no tf.train.Example .*utf-8"),
    (raw_embedding("a\tb", vector()), "a\tb", "has a tab or line break in its id"),
    (raw_embedding("of NaN", NAN), "of NaN", "NaN or infinity"),
    (raw_embedding("silent", 0 * vector()), "silent", "all zero, so it has no direction"),
    (raw_embedding("empty", vector()[:0]), "empty", "has 0 numbers, not 8"),
    (raw_embedding("wide", vector(width=9)), "wide", "has 9 numbers, not 8 as the others"),
    (raw_embedding("foreign", vector(), "v:1"), "foreign", "made by v:1, the others by u:fc1"),
    (raw_embedding("twice", vector()), "twice", "its id is on 2 embeddings"),
    (raw_embedding("twice", vector()), "twice", "its id is on 2 embeddings"),
    (raw_embedding("alone", vector()), "alone", "has 0 records of features, not one"),
]
POISONED_FEATURES = [
    (b"\xff\xff\xff", "", "is no tf.train.Example"),
    (raw_feature("short", np.ones((2, 2))), "short", "has 4 numbers, not 6 as description.json"),
    (raw_feature("NaN", np.full((2, 3), np.nan)), "NaN", "NaN or infinity"),
    (unlabelled_feature("unknown"), "unknown", "has no label, not even the one"),
    (raw_feature("again", np.ones((2, 3))), "again", "its id is on 2 records of features"),
]


def poison(folder, records: list[bytes]) -> str:
    """Puts the records in the middle of a shard; returns its path."""
    path = sorted(folder.glob("*.tfrecord"))[1]
    kept = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in [*kept[:3], *records, *kept[3:]]:
            writer.write(record)
    return str(path)


@pytest.fixture
def corpus(write_embeddings, write_features):
    random = np.random.default_rng(0)
    embeddings = write_embeddings({name: random.normal(0.5, 1, 8) for name in IDS})
    return {"embeddings": embeddings, "features": write_features(dict.fromkeys(IDS, 1))}


def test_poisoned_records_are_named_and_all_others_go_on(
    corpus, beam_here, lines_of, records_of, tmp_path
):
    settings = {"similarity_threshold": 0.5, "blocks": 2, "shards": 2}
    clean, out = tmp_path / "clean", tmp_path / "out"
    beam_here(**corpus, out=clean, **settings)
    again = raw_feature("again", np.ones((2, 3)))  # tells of both, as neither is the right one
    paths = [
        poison(corpus["embeddings"], [record for record, _, _ in POISONED_EMBEDDINGS]),
        poison(corpus["features"], [again, *(record for record, _, _ in POISONED_FEATURES)]),
    ]

    result = beam_here(**corpus, out=out, **settings)

    letters = [json.loads(line) for line in lines_of(out / "dead_letters" / "graph")]
    for utterance_id, reason in [
        (each[1], each[2]) for each in POISONED_EMBEDDINGS + POISONED_FEATURES
    ]:
        (place, letter), *_ = (
            (i, each)
            for i, each in enumerate(letters)
            if each["id"] == utterance_id and re.search(reason, each["reason"])
        )
        assert letter.keys() == {"id", "where", "stage", "reason"}
        if not utterance_id:
            assert letter["where"].startswith(tuple(paths))
            assert re.search(r", a record of \d+ bytes, BLAKE2 [0-9a-f]{16}$", letter["where"])
        del letters[place]
    assert letters == []
    assert result.counts["dead_letters"] == len(POISONED_EMBEDDINGS + POISONED_FEATURES) == 17
    assert result.counts["dead_letters_by_step"] == {
        "joining embeddings and features": 3,
        "joining features by id": 1,
        "reading embeddings": 9,
        "reading features": 4,
    }
    assert "dead letters 17" in str(result)
    assert lines_of(out / "graph" / "graph") == lines_of(clean / "graph" / "graph")
    assert records_of(out / "training") == records_of(clean / "training")


def test_good_record_among_bad_ones_of_its_id_stays(corpus, beam_here, lines_of, tmp_path):
    poison(corpus["embeddings"], [raw_embedding(IDS[0], NAN), raw_embedding(IDS[1], vector())])

    out = tmp_path / "out"
    beam_here(**corpus, out=out, similarity_threshold=-1.0, blocks=2)

    sources = {line.split("\t")[0] for line in lines_of(out / "graph" / "graph")}
    assert sources == set(IDS) - {IDS[1]}


def test_records_without_any_embedding_are_refused(beam_here, write_features, tmp_path):
    features = write_features(dict.fromkeys(IDS, 1))

    with pytest.raises(InputError, match="train-00000-of-00002.tfrecord: holds no embeddings, nor"):
        beam_here(embeddings=features, out=tmp_path / "out")
