import json
from pathlib import Path

import numpy as np
import pytest

from ser_nsl.audio.batches import read_examples
from ser_nsl.audio.examples import UNLABELLED, embedding_example
from ser_nsl.audio.features import extract_features
from ser_nsl.audio.records import read_labels
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.audio.shards import ShardWriter, shard_paths
from ser_nsl.corpora.labels import known_labels
from ser_nsl.errors import InputError
from ser_nsl.training.pseudo_labels import pseudo_label
from ser_nsl.training.train import train_downstream


@pytest.fixture(scope="module")
def features(tone_manifest, tmp_path_factory):
    out = tmp_path_factory.mktemp("pseudo") / "features"
    front_end = FrontEndConfig(mel_bins=8)
    extract_features(manifest=tone_manifest, out=out, clip_seconds=0.3, front_end=front_end)
    return out


@pytest.fixture
def probed(features, tmp_path):
    """Returns a function that writes probabilities, highest for the class after the true one."""

    def write(classes=3, leave_out=0, splits=("train",)):
        folder = tmp_path / "probed"
        folder.mkdir()
        for split in splits:
            labels = list(read_labels(features, split).items())[leave_out:]
            with ShardWriter(folder, split, 1) as writer:
                for utterance_id, label in labels:
                    probabilities = np.full(classes, 0.1, np.float32)
                    probabilities[(label + 1) % classes] = 0.8
                    writer.write(embedding_example(utterance_id, probabilities))
        return folder

    return write


def logmels(folder, split):
    return {
        each.features.feature["id"].bytes_list.value[0]: [
            *each.features.feature["logmel"].float_list.value
        ]
        for each in read_examples(shard_paths(folder, split))
    }


def test_hidden_labels_are_filled_in_and_the_rest_is_kept(features, probed, tmp_path):
    out = tmp_path / "out"
    result = pseudo_label(features=features, embeddings=probed(), out=out, label_share=0.5, seed=1)

    true = read_labels(features, "train")
    known = known_labels([*true], np.array([*true.values()]), 0.5, seed=1)
    hidden = known == UNLABELLED
    assert result.counts == {
        "clips": len(true),
        "known": (~hidden).sum(),
        "pseudo_labelled": hidden.sum(),
    }
    assert 0 < hidden.sum() < len(true)
    wrong = (np.array([*true.values()]) + 1) % 3
    expected = dict(zip(true, np.where(hidden, wrong, known), strict=True))
    assert read_labels(out, "train") == expected
    for split in ("train", "val", "test"):
        assert logmels(out, split) == logmels(features, split)
    assert read_labels(out, "val") == read_labels(features, "val")
    assert (out / "description.json").read_text() == (features / "description.json").read_text()


def test_all_labels_known_change_nothing(features, probed, tmp_path):
    pseudo_label(features=features, embeddings=probed(), out=tmp_path / "out")

    for path in shard_paths(features, "train"):
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"leave_out": 2}, r"embeddings: .* lacks clips of .* \(2; first: 03"),
        ({"classes": 2}, "one probability for each of 3 emotions; received 2 numbers"),
    ],
)
def test_probabilities_of_other_clips_or_classes_are_refused(
    written, message, features, probed, tmp_path
):
    with pytest.raises(InputError, match=message):
        pseudo_label(features=features, embeddings=probed(**written), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_share_out_of_range_is_refused(features, probed, tmp_path):
    with pytest.raises(InputError, match="label_share: .* received 0"):
        pseudo_label(features=features, embeddings=probed(), out=tmp_path / "out", label_share=0.0)


def test_validation_clips_that_train_have_pseudo_labels_too(features, probed, tmp_path):
    both, out = ("train", "val"), tmp_path / "out"
    folder = recorded(probed(splits=both), label_share=0.5, splits=both)
    pseudo_label(features=features, embeddings=folder, out=out, label_share=0.5, splits=both)

    true = read_labels(features, *both)
    known = known_labels([*true], np.array([*true.values()]), 0.5, seed=0)
    wrong = (np.array([*true.values()]) + 1) % 3
    expected = dict(zip(true, np.where(known == UNLABELLED, wrong, known), strict=True))
    assert read_labels(out, *both) == expected
    hidden = {each for each, label in expected.items() if label != true[each]}
    assert hidden & read_labels(out, "val").keys()
    assert read_labels(out, "test") == read_labels(features, "test")
    # They must not choose epochs any more.
    with pytest.raises(InputError, match=r"features: .* comes from probed, .* train and val"):
        train_downstream(features=out, method="base", out=tmp_path / "model")
    with pytest.raises(InputError, match=r"embeddings: .* 50% .* of train and val"):
        pseudo_label(features=features, embeddings=folder, out=out, label_share=0.5)


def recorded(folder: Path, **settings) -> Path:
    """Says that a probe has made a folder."""
    record = {"stage": "probe_embeddings", "settings": {"seed": 0} | settings}
    record |= {name: {} for name in ("paths", "inputs", "versions", "counts")} | {"seconds": 1.0}
    (folder / "stage.json").write_text(json.dumps(record))
    return folder


def test_a_probe_that_knew_the_labels_is_refused(features, probed, tmp_path):
    folder = recorded(probed(), label_share=1.0)

    with pytest.raises(InputError, match=r"embeddings: .*probe used 100% of the labels"):
        pseudo_label(features=features, embeddings=folder, out=tmp_path / "out", label_share=0.5)
    assert not (tmp_path / "out").exists()
