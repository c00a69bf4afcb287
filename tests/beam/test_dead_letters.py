"""Bad records: each becomes a dead letter with its id and a reason, all others go on."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("apache_beam")
pytest.importorskip("google_crc32c")

from ser_nsl.audio.examples import embedding_example, feature_example
from ser_nsl.beam import pack, vectors
from ser_nsl.beam.dead_letters import BadRecordError
from ser_nsl.errors import InputError

IDS = [f"clip {i:02d}" for i in range(40)]
VECTOR = np.arange(1, 9, dtype=np.float32)
KIND = vectors.Kind(8, "u:fc1")


def embedding(utterance_id: str, values: np.ndarray, upstream: str = "u:fc1") -> bytes:
    return embedding_example(utterance_id, values, upstream).SerializeToString()


def embedding_with_id(*ids: bytes) -> bytes:
    example = embedding_example("x", VECTOR, "u:fc1")
    example.features.feature["id"].bytes_list.value[:] = ids
    return example.SerializeToString()


def feature(utterance_id: str, logmel: np.ndarray) -> bytes:
    return feature_example(utterance_id, logmel.astype(np.float32), 0).SerializeToString()


def unlabelled_feature(utterance_id: str) -> bytes:
    example = feature_example(utterance_id, np.ones((2, 3), np.float32), 0)
    del example.features.feature["label"]
    return example.SerializeToString()


@pytest.mark.parametrize(
    ("raw", "utterance_id", "reason"),
    [
        (b"\xff\xff\xff", "", r"tf\.train\.Example"),
        (embedding_with_id(), "", "no id"),
        (embedding_with_id(b"\xff"), "", "utf-8"),
        (embedding("a\tb", VECTOR), "a\tb", "tab"),
        (embedding("nan", np.full(8, np.nan, np.float32)), "nan", "NaN"),
        (embedding("zero", 0 * VECTOR), "zero", "all zero"),
        (embedding("empty", VECTOR[:0]), "empty", "0 numbers, not 8"),
        (embedding("wide", np.ones(9, np.float32)), "wide", "9 numbers, not 8"),
        (embedding("foreign", VECTOR, "v:1"), "foreign", "v:1, .* u:fc1"),
        (embedding("unnamed", VECTOR, ""), "unnamed", "unknown upstream, .* u:fc1"),
    ],
)
def test_bad_embeddings(raw, utterance_id, reason):
    with pytest.raises(BadRecordError, match=reason) as raised:
        vectors._check(("a.tfrecord", raw), kind=KIND)

    assert raised.value.utterance_id == utterance_id
    assert raised.value.where.startswith("a.tfrecord")
    if not utterance_id:  # then its length and hash say which record it is
        assert re.search(rf" {len(raw)} bytes, BLAKE2 [0-9a-f]{{16}}$", raised.value.where)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (feature("short", np.ones((2, 2))), "4 numbers, not 6"),
        (feature("nan", np.full((2, 3), np.nan)), "NaN"),
        (unlabelled_feature("unlabelled"), "no label"),
    ],
)
def test_bad_features(raw, reason):
    with pytest.raises(BadRecordError, match=reason):
        pack._check(("a.tfrecord", raw), size=6)


def add_records(folder, records: list[bytes]) -> None:
    """Puts records in the middle of a shard."""
    path = sorted(folder.glob("*.tfrecord"))[1]
    kept = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in [*kept[:3], *records, *kept[3:]]:
            writer.write(record)


@pytest.mark.slow
def test_bad_records_are_named_and_all_others_go_on(
    beam_here, write_embeddings, write_features, lines_of, records_of, tmp_path
):
    random = np.random.default_rng(0)
    embeddings = write_embeddings({name: random.normal(0.5, 1, 8) for name in IDS})
    features = write_features(dict.fromkeys(IDS, 1))
    settings = {"embeddings": embeddings, "features": features, "blocks": 2, "shards": 2}
    clean, out = tmp_path / "clean", tmp_path / "out"
    beam_here(**settings, out=clean, similarity_threshold=0.5)
    again = feature("again", np.ones((2, 3)))
    nan = embedding(IDS[0], np.full(8, np.nan, np.float32))  # the good one of this id stays
    twice = embedding("twice", VECTOR)
    add_records(embeddings, [b"\xff\xff\xff", nan, twice, twice, embedding("alone", VECTOR)])
    add_records(features, [again, b"\xff\xff\xff", again])

    result = beam_here(**settings, out=out, similarity_threshold=0.5)

    letters = [json.loads(line) for line in lines_of(out / "dead_letters" / "graph")]
    assert {(letter["id"], letter["stage"], letter["reason"][:30]) for letter in letters} == {
        ("", "reading embeddings", "is no tf.train.Example (Error "),
        (IDS[0], "reading embeddings", "holds NaN or infinity"),
        ("twice", "joining embeddings and features", "its id is on 2 embeddings"),
        ("alone", "joining embeddings and features", "has 0 records of features, not"),
        ("", "reading features", "is no tf.train.Example (Error "),
        ("again", "joining features by id", "its id is on 2 records of feat"),
    }
    assert result.counts["dead_letters"] == len(letters) == 7
    assert result.counts["dead_letters_by_step"] == {
        "joining embeddings and features": 3,
        "joining features by id": 1,
        "reading embeddings": 2,
        "reading features": 1,
    }
    assert lines_of(out / "graph" / "graph") == lines_of(clean / "graph" / "graph")
    assert records_of(out / "training") == records_of(clean / "training")


def test_records_without_any_embedding_are_refused(beam_here, write_features, tmp_path):
    features = write_features(dict.fromkeys(IDS, 1))

    with pytest.raises(InputError, match=r"train-00000-of-00002\.tfrecord: has no embeddings"):
        beam_here(embeddings=features, out=tmp_path / "out")
