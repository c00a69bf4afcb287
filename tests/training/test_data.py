import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.audio.batches import read_examples
from ser_nsl.audio.examples import UNLABELLED, feature_example
from ser_nsl.audio.shards import ShardWriter, shard_paths
from ser_nsl.errors import InputError
from ser_nsl.graph.pack import pack_neighbors
from ser_nsl.training.data import TrainingClips, labelled_clips, training_clips
from ser_nsl.training.orders import shuffled

FORMS = ("training_records", "indexed_records")


def ids_of(corpus, split: str) -> list[str]:
    return [key for key, label in corpus.labels[split].items() if label != UNLABELLED]


def opened(corpus, records: str = "features", **settings) -> TrainingClips:
    return training_clips(getattr(corpus, records), ("train",), corpus.description, **settings)


def inputs_one_by_one(clips: TrainingClips, rows) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Ids and inputs of clips, which are read in batches."""
    for start, batch in enumerate(clips.inputs(rows, 4).as_numpy_iterator()):
        for place in range(len(batch["logmel"])):
            row = rows[4 * start + place]
            yield clips.ids[row], {name: values[place] for name, values in batch.items()}


def numbers(batches: tf.data.Dataset) -> list[list[float]]:
    """What tells clips apart, by batches."""
    return [inputs["logmel"][:, 0, 0].tolist() for inputs, *_ in batches.as_numpy_iterator()]


def numbers_of(corpus, ids) -> list[float]:
    return [float(corpus.logmel[utterance_id][0, 0]) for utterance_id in ids]


# Clips to score


@pytest.mark.parametrize("splits", [("val",), ("train", "val")])
def test_labelled_clips_in_the_order_of_their_labels(splits, corpus):
    clips = labelled_clips(corpus.features, splits, corpus.description)

    elements = list(clips.dataset.as_numpy_iterator())
    assert sorted(clips.labels) == sorted(key for split in splits for key in ids_of(corpus, split))
    assert len(elements) == len(clips.labels)
    for (inputs, label), (utterance_id, expected) in zip(
        elements, clips.labels.items(), strict=True
    ):
        assert inputs.keys() == {"logmel"}
        np.testing.assert_array_equal(inputs["logmel"], corpus.logmel[utterance_id])
        assert label == expected == (corpus.labels["train"] | corpus.labels["val"])[utterance_id]


# Clips to train on


def neighbors_on_the_ring(utterance_id: str) -> list[tuple[str, float]]:
    """Neighbours in the corpus's graph, the nearest first."""
    number = int(utterance_id.removeprefix("train"))
    before, after = (number - 3) % 15, (number + 3) % 15
    # An edge's weight grows with the number of the clip that it starts from.
    found = [(f"train{after:02}", 0.9 + number / 1000), (f"train{before:02}", 0.9 + before / 1000)]
    return sorted(found, key=lambda each: -each[1])


@pytest.mark.parametrize("form", FORMS)
def test_neighbours_come_with_their_weights(form, corpus):
    clips = opened(corpus, form, neighbors=3)

    ids = [clips.ids[row] for row in clips.labelled]
    assert sorted(ids) == ids_of(corpus, "train")
    for utterance_id, inputs in inputs_one_by_one(clips, clips.labelled):
        np.testing.assert_array_equal(inputs["logmel"], corpus.logmel[utterance_id])
        for i, (other, weight) in enumerate(neighbors_on_the_ring(utterance_id)):
            np.testing.assert_array_equal(inputs[f"NL_nbr_{i}_logmel"], corpus.logmel[other])
            np.testing.assert_allclose(inputs[f"NL_nbr_{i}_weight"], [weight])
        # There is no third one. Zeros in its place would be the loudest clips of all.
        np.testing.assert_array_equal(inputs["NL_nbr_2_logmel"], inputs["logmel"])
        assert inputs["NL_nbr_2_weight"] == 0
        assert len(inputs) == 1 + 2 * 3
    np.testing.assert_allclose(
        clips.weights[clips.labelled],
        [[*(weight for _, weight in neighbors_on_the_ring(key)), 0] for key in ids],
    )
    assert clips.weights.dtype == np.float32


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_neighbours_come_in_place_of_their_features(form, corpus):
    clips = opened(corpus, form, neighbors=3, source="batch")

    rows = clips.labelled[::-1]
    for utterance_id, inputs in inputs_one_by_one(clips, rows):
        assert inputs.keys() == {"logmel", "NL_row", "NL_nbr_rows", "NL_nbr_weights"}
        np.testing.assert_array_equal(inputs["logmel"], corpus.logmel[utterance_id])
        assert clips.ids[inputs["NL_row"]] == utterance_id
        near = neighbors_on_the_ring(utterance_id)
        # In place of the third one, which is not there, stands the clip itself.
        found = [clips.ids[row] for row in inputs["NL_nbr_rows"]]
        assert found == [*(other for other, _ in near), utterance_id]
        np.testing.assert_allclose(inputs["NL_nbr_weights"], [*(w for _, w in near), 0])
        np.testing.assert_array_equal(inputs["NL_nbr_rows"], clips.neighbors[inputs["NL_row"]])
        np.testing.assert_array_equal(inputs["NL_nbr_weights"], clips.weights[inputs["NL_row"]])


def test_clips_without_a_label_stand_among_those_with_neighbours(corpus):
    plain = opened(corpus)
    assert sorted(plain.ids) == ids_of(corpus, "train")
    assert len(plain.unlabelled) == 0
    assert plain.neighbors.shape == plain.weights.shape == (13, 0)

    degrees = []
    for form in FORMS:
        clips = opened(corpus, form, neighbors=2)
        assert sorted(clips.ids) == sorted(corpus.labels["train"])
        assert {clips.ids[row] for row in clips.unlabelled} == {"train13", "train14"}
        degrees.append((clips.weights[clips.unlabelled] > 0).sum())
    assert degrees == [0, 4]  # official records tell the neighbours of labelled clips only


# Epochs


def test_every_clip_once_per_epoch_and_one_series_per_seed(corpus):
    clips = opened(corpus)

    def epochs(seed: int, count: int, first: int = 0) -> list[list[list[float]]]:
        batches = clips.batches(batch_size=5, seed=seed, first_epoch=first)
        return [numbers(batches) for _ in range(count)]

    series = epochs(1, 2)
    for batches in series:
        assert [len(batch) for batch in batches] == [5, 5, 3]
        assert sorted(sum(batches, [])) == sorted(numbers_of(corpus, ids_of(corpus, "train")))
    assert series[0] != series[1]
    assert epochs(2, 1)[0] != series[0]
    # An epoch is the same, whatever ran before.
    assert epochs(1, 1, first=1)[0] == series[1]


def test_neighbours_meet_in_batches_of_all_clips(corpus):
    clips = opened(corpus, "indexed_records", neighbors=2, source="batch")
    batches = clips.batches(clips.neighborhoods(), 5, seed=0, steps=0)
    met = 0
    for _ in range(4):
        rows = [inputs["NL_row"] for inputs, *_ in batches.as_numpy_iterator()]
        assert sorted(np.concatenate(rows)) == list(range(15))
        met += sum(np.isin(clips.neighbors[each], each).sum() for each in rows)

    by_chance = 4 * 30 * 4 / 14
    assert met > 1.5 * by_chance


# Weights


@pytest.mark.parametrize("class_weights", [None, (2.0, 0.5, 1.0)])
def test_a_mean_over_a_batch_is_one_over_its_labelled_clips(class_weights, corpus):
    clips = opened(corpus, "indexed_records", neighbors=1, source="batch", label_share=0.5)
    factors = np.ones(3) if class_weights is None else np.array(class_weights)
    batches = clips.batches(
        shuffled(np.arange(15)),
        4,
        seed=1,
        steps=0,
        class_weights=None if class_weights is None else np.array(class_weights, np.float32),
    )
    losses = np.random.default_rng(0).uniform(1, 2, 15)

    hidden = 0
    for inputs, label, weight in batches.as_numpy_iterator():
        rows = inputs["NL_row"]
        known = clips.labels[rows] != UNLABELLED
        np.testing.assert_array_equal(label, np.maximum(clips.labels[rows], 0))
        assert (weight[~known] == 0).all()
        hidden += np.count_nonzero(~known)
        if known.any():
            expected = (factors[label] * losses[rows])[known].mean()
            assert (weight * losses[rows]).mean() == pytest.approx(expected)
    assert hidden == 15 - 7


def test_a_batch_without_labels_weighs_nothing(corpus):
    clips = opened(corpus, "indexed_records", neighbors=1, source="batch")
    batches = clips.batches(shuffled(clips.unlabelled), 4, seed=1, steps=0)

    ((_, label, weight),) = batches.as_numpy_iterator()
    assert label.tolist() == [0, 0]
    assert weight.tolist() == [0, 0]


# Known labels


@pytest.mark.parametrize(
    ("share", "counts"), [(1.0, [5, 4, 4]), (0.6, [3, 3, 3]), (0.01, [1, 1, 1])]
)
def test_a_share_of_the_labels_of_each_class(share, counts, corpus):
    one, other = (opened(corpus, form, label_share=share, seed=2) for form in FORMS)

    known = {one.ids[row]: one.labels[row] for row in one.labelled}
    assert known == {other.ids[row]: other.labels[row] for row in other.labelled}
    assert [Counter(known.values())[label] for label in range(3)] == counts
    assert known.items() <= corpus.labels["train"].items()
    assert len(one.labelled) + len(one.unlabelled) == 13


# Edges that agree


@pytest.fixture(scope="module")
def tangled(corpus, tmp_path_factory):
    """The corpus with a graph in which emotions meet: most clips have ten neighbours or more."""
    folder = tmp_path_factory.mktemp("tangled")
    random = np.random.default_rng(0)
    pairs = [random.choice(15, 2, replace=False) for _ in range(90)]
    graph = folder / "graph.tsv"
    graph.write_text("".join(f"train{a:02}\ttrain{b:02}\t{random.random()}\n" for a, b in pairs))
    for form in ("official", "indexed"):
        out = folder / form
        pack_neighbors(
            features=corpus.features, graph=graph, out=out, form=form, max_neighbors=9, shards=2
        )
    return replace(
        corpus,
        graph=graph,
        training_records=folder / "official",
        indexed_records=folder / "indexed",
    )


@pytest.mark.parametrize(
    ("form", "neighbors", "share", "source"),
    [
        ("training_records", 3, 1.0, "packed"),
        ("training_records", 12, 0.4, "batch"),
        ("indexed_records", 1, 0.4, "packed"),
        ("indexed_records", 12, 1.0, "batch"),
    ],
)
def test_edges_between_different_labels_are_left_out(form, neighbors, share, source, tangled):
    every = opened(tangled, form, neighbors=9, label_share=share)
    clips = opened(
        tangled, form, neighbors=neighbors, label_share=share, agreeing=True, source=source
    )

    assert clips.labels.tolist() == every.labels.tolist()
    left_out = 0
    for row, own in enumerate(every.labels):
        edges = [
            (other, weight)
            for other, weight in zip(every.neighbors[row], every.weights[row], strict=True)
            if weight
        ]
        agreeing = [
            (other, weight)
            for other, weight in edges
            if UNLABELLED in (own, every.labels[other]) or own == every.labels[other]
        ]
        left_out += len(edges) - len(agreeing)
        filled = agreeing[:neighbors] + [(row, 0)] * (neighbors - len(agreeing))
        assert clips.neighbors[row].tolist() == [other for other, _ in filled]
        assert clips.weights[row].tolist() == [weight for _, weight in filled]
    assert left_out > 0

    batch = next(clips.inputs(np.arange(15), 15).as_numpy_iterator())
    if source == "packed":
        assert len(batch) == 1 + 2 * neighbors
        for i, rows in enumerate(clips.neighbors.T):
            expected = numbers_of(tangled, [clips.ids[row] for row in rows])
            assert batch[f"NL_nbr_{i}_logmel"][:, 0, 0].tolist() == expected
    else:
        np.testing.assert_array_equal(batch["NL_nbr_rows"], clips.neighbors)


# Embeddings


def test_embeddings_are_joined_by_id(corpus, write_embeddings, embedding):
    write_embeddings(["unknown", *reversed(corpus.labels["train"])])
    folder = write_embeddings(corpus.labels["val"], split="val")
    arguments = corpus.features, ("train", "val"), corpus.description

    scored = labelled_clips(*arguments, embeddings=folder)
    clips = training_clips(*arguments, embeddings=folder)

    elements = [inputs for inputs, _ in scored.dataset.as_numpy_iterator()]
    assert len(elements) == len(clips.ids) == 13 + 7
    for inputs, utterance_id in [
        *zip(elements, scored.labels, strict=True),
        *((inputs, key) for key, inputs in inputs_one_by_one(clips, clips.labelled)),
    ]:
        assert inputs.keys() == {"logmel", "embedding"}
        np.testing.assert_array_equal(inputs["logmel"], corpus.logmel[utterance_id])
        np.testing.assert_array_equal(inputs["embedding"], embedding(utterance_id))


@pytest.mark.parametrize("opens", [labelled_clips, training_clips])
def test_missing_embeddings_are_named(opens, corpus, write_embeddings):
    # The two clips without a label need none.
    known = [key for key in ids_of(corpus, "train") if key not in ("train00", "train02", "train07")]
    arguments = corpus.features, ("train",), corpus.description

    opens(*arguments, embeddings=write_embeddings(ids_of(corpus, "train")))
    with pytest.raises(InputError, match=r"of 13 clips.* \(3; first: train00, train02, train07\)"):
        opens(*arguments, embeddings=write_embeddings(known))


# Damage


@pytest.mark.parametrize(
    ("opens", "records"),
    [(labelled_clips, "features"), (training_clips, "indexed_records")],
)
def test_damage_is_found_before_training(opens, records, corpus, tmp_path):
    folder = shutil.copytree(getattr(corpus, records), tmp_path / records)
    path = folder / "train-00001-of-00002.tfrecord"
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(InputError, match="train-00001-of-00002.tfrecord: is cut off or damaged"):
        opens(folder, ("train",), corpus.description)


@pytest.mark.parametrize("opens", [labelled_clips, training_clips])
def test_clips_without_any_label_are_refused(opens, corpus, tmp_path):
    with ShardWriter(tmp_path, "train", 1) as writer:
        writer.write(feature_example("a", corpus.logmel["train00"], UNLABELLED))

    with pytest.raises(InputError, match="no clip of train has a label"):
        opens(tmp_path, ("train",), corpus.description)


@pytest.mark.parametrize("form", ["official_records", "indexed_records"])
@pytest.mark.parametrize("fault", ["label", "weight", "id", "value"])
def test_faulty_training_records_are_errors(form, fault, corpus, tmp_path):
    """Records of other tools, without a description of classes beside them."""
    official, split = form == "official_records", ["train"]
    given = corpus.training_records if official else corpus.indexed_records
    folder = shutil.copytree(given, tmp_path / "records")
    (folder / "description.json").unlink()
    (folder / "stage.json").unlink()
    path = shard_paths(folder, "train")[0]
    examples = list(read_examples([path]))
    feature = examples[1].features.feature
    if fault == "label":
        feature["label"].int64_list.value[0] = 3
    elif fault == "weight":
        name = "NL_nbr_0_weight" if official else "neighbor_weights"
        feature[name].float_list.value[0] = np.inf
    elif fault == "id":
        name = "NL_nbr_0_id" if official else "neighbor_ids"
        feature[name].bytes_list.value[0] = b"\xff"
    elif official:
        feature["NL_nbr_0_logmel"].float_list.value[3] = np.nan
    else:
        logmels = np.load(path.with_suffix(".npy"))
        logmels[1, 2, 3] = np.nan
        np.save(path.with_suffix(".npy"), logmels)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            writer.write(example.SerializeToString())

    rule = {"label": "labels must be below", "id": "ids must be UTF-8"}.get(fault, "finite")
    with pytest.raises(InputError, match=rf"records.*{rule}"):
        training_clips(folder, split, corpus.description, neighbors=2)
