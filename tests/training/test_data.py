import shutil
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.errors import InputError
from ser_nsl.graph.pack import pack_neighbors
from ser_nsl.records import UNLABELLED, ShardWriter, feature_example
from ser_nsl.training.data import labelled_clips


def ids_of(corpus, split: str) -> list[str]:
    return [key for key, label in corpus.labels[split].items() if label != UNLABELLED]


@pytest.mark.parametrize("splits", [("train",), ("val",), ("train", "val")])
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


@pytest.mark.parametrize("form", ["training_records", "indexed_records"])
def test_neighbours_come_with_their_weights(form, corpus):
    clips = labelled_clips(getattr(corpus, form), ("train",), corpus.description, neighbors=3)

    for (inputs, _), utterance_id in zip(
        clips.dataset.as_numpy_iterator(), clips.labels, strict=True
    ):
        number = int(utterance_id.removeprefix("train"))
        before, after = (number - 3) % 15, (number + 3) % 15
        # An edge's weight grows with the number of the clip that it starts from.
        nearest = [number, before] if number > before else [before, number]
        others = [after if start == number else before for start in nearest]
        for i, (start, other) in enumerate(zip(nearest, others, strict=True)):
            np.testing.assert_array_equal(
                inputs[f"NL_nbr_{i}_logmel"], corpus.logmel[f"train{other:02}"]
            )
            np.testing.assert_allclose(inputs[f"NL_nbr_{i}_weight"], [0.9 + start / 1000])
        # There is no third one. Zeros in its place would be the loudest clips of all.
        np.testing.assert_array_equal(inputs["NL_nbr_2_logmel"], inputs["logmel"])
        assert inputs["NL_nbr_2_weight"] == 0
        assert not any(name.endswith(("_id", "_label")) for name in inputs)


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("neighbors", [0, 1, 3])
def test_both_forms_are_read_alike(neighbors, shuffled, corpus):
    tf.random.set_seed(1)
    one, other = (
        labelled_clips(records, ("train",), corpus.description, neighbors=neighbors)
        for records in (corpus.training_records, corpus.indexed_records)
    )
    assert [*one.labels.items()] == [*other.labels.items()]
    datasets = [
        clips.shuffled(4, seed=5).repeat(2) if shuffled else clips.dataset for clips in (one, other)
    ]

    assert datasets[0].element_spec == datasets[1].element_spec
    elements = [tf.nest.flatten([*dataset.as_numpy_iterator()]) for dataset in datasets]
    assert len(elements[0]) == (8 if shuffled else 13) * (2 + 2 * neighbors)
    for value, again in zip(*elements, strict=True):
        np.testing.assert_array_equal(value, again)


def test_neighbour_of_no_weight_is_replaced_in_both_forms(corpus, tmp_path):
    graph = tmp_path / "graph.tsv"
    graph.write_text("train00\ttrain01\t0\ntrain00\ttrain02\t-1\n")
    for form in ("official", "indexed"):
        out = tmp_path / form
        pack_neighbors(features=corpus.features, graph=graph, out=out, form=form)
        clips = labelled_clips(out, ("train",), corpus.description, neighbors=2)
        inputs, _ = next(clips.dataset.as_numpy_iterator())
        batch, _ = next(clips.dataset.batch(2).as_numpy_iterator())

        for found in (inputs, {name: values[0] for name, values in batch.items()}):
            np.testing.assert_array_equal(found["NL_nbr_0_logmel"], corpus.logmel["train00"])
            np.testing.assert_array_equal(found["NL_nbr_1_logmel"], corpus.logmel["train02"])


@pytest.mark.parametrize("form", ["features", "indexed_records"])
def test_one_seed_one_series_of_orders(form, corpus):
    clips = labelled_clips(getattr(corpus, form), ("train",), corpus.description)

    def orders(seed: int) -> list[list[float]]:
        tf.random.set_seed(1)
        batches = clips.shuffled(5, seed=seed)
        return [
            [
                logmel[0, 0]
                for inputs, _ in batches.as_numpy_iterator()
                for logmel in inputs["logmel"]
            ]
            for _ in range(2)
        ]

    first, second = orders(1)
    assert (
        sorted(first)
        == sorted(second)
        == sorted(corpus.logmel[utterance_id][0, 0] for utterance_id in clips.labels)
    )
    assert first != second
    assert orders(1) == [first, second]
    assert orders(2) != [first, second]


def test_indexed_features_are_not_kept_in_memory(corpus, tmp_path):
    folder = shutil.copytree(corpus.indexed_records, tmp_path / "indexed")
    clips = labelled_clips(folder, ("train",), corpus.description, neighbors=2)
    batches = clips.shuffled(4, seed=0)
    assert len([*batches]) == 4
    for path in folder.glob("*.npy"):
        np.lib.format.open_memmap(path, "r+")[:] = 7

    for inputs, _ in batches.as_numpy_iterator():
        assert (inputs["logmel"] == 7).all()
        assert (inputs["NL_nbr_1_logmel"] == 7).all()


def test_embeddings_are_joined_by_id(corpus, write_embeddings, embedding):
    write_embeddings(["stranger", *reversed(corpus.labels["train"])])
    folder = write_embeddings(corpus.labels["val"], split="val")

    clips = labelled_clips(corpus.features, ("train", "val"), corpus.description, embeddings=folder)

    elements = list(clips.dataset.as_numpy_iterator())
    assert len(elements) == 13 + 7
    for (inputs, _), utterance_id in zip(elements, clips.labels, strict=True):
        np.testing.assert_array_equal(inputs["logmel"], corpus.logmel[utterance_id])
        np.testing.assert_array_equal(inputs["embedding"], embedding(utterance_id))


def test_missing_embeddings_are_named(corpus, write_embeddings):
    # The two clips without a label need none.
    known = [key for key in ids_of(corpus, "train") if key not in ("train00", "train02", "train07")]

    with pytest.raises(InputError, match=r"3 of 13 .* \(first: train00, train02, train07\)"):
        labelled_clips(
            corpus.features, ("train",), corpus.description, embeddings=write_embeddings(known)
        )


def test_embeddings_of_another_width_are_refused(corpus, write_embeddings):
    folder = write_embeddings(corpus.labels["train"], width=255)

    with pytest.raises(InputError, match="embeddings of 256 numbers; received 255"):
        labelled_clips(corpus.features, ("train",), corpus.description, embeddings=folder)


def test_indexed_records_of_another_length_are_refused(corpus):
    longer = replace(corpus.description, clip_samples=corpus.description.clip_samples + 256)

    with pytest.raises(InputError, match=r"\.npy: must be float32 of shape \(8, 21, 16\), .* Pack"):
        labelled_clips(corpus.indexed_records, ("train",), longer, neighbors=1)


def test_clips_without_any_label_are_refused(corpus, tmp_path):
    with ShardWriter(tmp_path, "train", 1) as writer:
        writer.write(feature_example("a", corpus.logmel["train00"], UNLABELLED))

    with pytest.raises(InputError, match="no clip of train has a label"):
        labelled_clips(tmp_path, ("train",), corpus.description)
