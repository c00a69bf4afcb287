import numpy as np
import pytest

from ser_nsl.errors import InputError
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


def test_neighbours_come_with_their_weights(corpus):
    clips = labelled_clips(corpus.training_records, ("train",), corpus.description, neighbors=3)

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


def test_clips_without_any_label_are_refused(corpus, tmp_path):
    with ShardWriter(tmp_path, "train", 1) as writer:
        writer.write(feature_example("a", corpus.logmel["train00"], UNLABELLED))

    with pytest.raises(InputError, match="no clip of train has a label"):
        labelled_clips(tmp_path, ("train",), corpus.description)
