import shutil
from dataclasses import replace

import numpy as np
import pytest

from ser_nsl.audio.examples import feature_example
from ser_nsl.audio.shards import ShardWriter
from ser_nsl.errors import InputError
from ser_nsl.training.data import training_clips
from ser_nsl.training.epochs import Epochs
from ser_nsl.training.settings import AugmentationConfig, TrainingConfig

CONFIG = TrainingConfig(batch_size=4, seed=3)


@pytest.fixture
def epochs(corpus):
    """Returns a function from settings to epochs."""

    def make(config=CONFIG, *, in_neighborhoods=False, replicas=1) -> Epochs:
        clips = training_clips(
            corpus.indexed_records, ("train",), corpus.description, neighbors=2, source="batch"
        )
        all_clips = clips.neighborhoods() if in_neighborhoods else None
        return Epochs(clips, corpus.description, config, all_clips=all_clips, replicas=replicas)

    return make


def logmels(epochs: Epochs, epoch: int) -> list[np.ndarray]:
    return [inputs["logmel"] for inputs, _, _ in epochs.batches(epoch).as_numpy_iterator()]


@pytest.mark.parametrize(
    ("config", "arguments", "sizes"),
    [
        (CONFIG, {}, [4, 4, 4, 1]),
        (CONFIG, {"in_neighborhoods": True}, [4, 4, 4, 3]),
        (CONFIG, {"replicas": 2}, [4, 4, 4, 4]),
        (replace(CONFIG, epoch_steps=5), {}, [4] * 5),
    ],
)
def test_batches_are_those_of_their_ids(config, arguments, sizes, corpus, epochs):
    made = epochs(config, **arguments)

    assert made.steps == len(sizes) == made.batches(1).cardinality()
    for step, batch in enumerate(logmels(made, 1)):
        assert len(batch) == sizes[step]
        expected = [corpus.logmel[name] for name in made.ids(1, step)]
        np.testing.assert_array_equal(batch, expected)


def test_augmentation_follows_from_seed_epoch_and_place(epochs):
    config = replace(CONFIG, augmentation=AugmentationConfig(time_shift_frames=9))

    def shifts(seed: int, epoch: int) -> np.ndarray:
        """Frames by which each clip was rolled."""
        altered = logmels(epochs(replace(config, seed=seed)), epoch)
        plain = logmels(epochs(replace(CONFIG, seed=seed)), epoch)
        shifts = np.arange(-9, 10)
        rolled = [np.roll(np.concatenate(plain), shift, axis=1) for shift in shifts]
        found = (np.concatenate(altered) == rolled).all(axis=(2, 3))
        assert (found.sum(axis=0) == 1).all()
        return shifts[found.argmax(axis=0)]

    once = shifts(3, 0)
    assert len(np.unique(once)) > 6
    np.testing.assert_array_equal(shifts(3, 0), once)
    for other in (shifts(3, 1), shifts(4, 0)):
        assert (other == once).sum() < 4  # one by chance


def test_balanced_weights_make_classes_count_the_same(epochs):
    made = epochs(replace(CONFIG, class_weights="balanced"))

    per_class = np.zeros(3)
    for _, labels, factors in made.batches(0).as_numpy_iterator():
        np.add.at(per_class, labels, factors)
    np.testing.assert_allclose(per_class, [13 / 3] * 3, rtol=1e-6)


def test_balanced_weights_leave_out_classes_without_a_clip(corpus):
    clips = training_clips(corpus.features, ("train",), corpus.description)
    clips = replace(clips, labels=np.where(clips.labels == 1, -1, clips.labels))
    config = replace(CONFIG, class_weights="balanced")
    made = Epochs(clips, corpus.description, config)

    factors = {}
    for _, labels, weights in made.batches(0).as_numpy_iterator():
        factors |= dict(zip(labels.tolist(), weights.tolist(), strict=True))
    assert factors == pytest.approx({0: 9 / (2 * 5), 2: 9 / (2 * 4)})


def test_clips_without_a_label_come_on_top(corpus):
    settings = {"neighbors": 2, "source": "batch", "label_share": 0.2}
    clips = training_clips(corpus.indexed_records, ("train",), corpus.description, **settings)
    made = Epochs(clips, corpus.description, CONFIG, all_clips=clips.neighborhoods())

    assert (len(clips.labelled), len(clips.ids)) == (3, 15)
    assert made.steps == 1  # as for the three with a label
    assert sorted(made.ids(0, 0)) == sorted(clips.ids)


@pytest.mark.parametrize("records", ["features", "training_records", "indexed_records"])
def test_each_epoch_draws_clips_or_their_copies(records, corpus, tmp_path):
    features = shutil.copytree(corpus.features, tmp_path / "features")
    for number in (1, 2):
        with ShardWriter(features, f"copy{number}", 3) as writer:
            for name in sorted(corpus.logmel):
                copy = corpus.logmel[name] + np.float32(100 * number)
                writer.write(feature_example(name, copy, 0))
    neighbors = 0 if records == "features" else 2
    folder = features if records == "features" else getattr(corpus, records)

    def opened() -> Epochs:
        clips = training_clips(
            folder, ("train",), corpus.description, neighbors=neighbors, copies=features
        )
        return Epochs(clips, corpus.description, CONFIG)

    epochs, seen = opened(), []
    for epoch in range(6):
        ids = [name for step in range(epochs.steps) for name in epochs.ids(epoch, step)]
        found = np.concatenate(logmels(epochs, epoch))
        clean = np.array([corpus.logmel[name] for name in ids])
        numbers = ((found - clean) / 100).round().astype(int)
        np.testing.assert_allclose(found, clean + 100 * numbers, atol=1e-4)
        seen.append(dict(zip(ids, numbers[:, 0, 0].tolist(), strict=True)))
    assert {number for epoch in seen for number in epoch.values()} == {0, 1, 2}
    assert all(len({epoch[name] for epoch in seen}) > 1 for name in seen[0])
    again = np.concatenate(logmels(opened(), 5))  # as in a training that goes on
    np.testing.assert_array_equal(again, found)


def test_copies_that_lack_a_clip_are_refused(corpus, tmp_path):
    features = shutil.copytree(corpus.features, tmp_path / "features")
    with ShardWriter(features, "copy1", 1) as writer:
        writer.write(feature_example("train00", corpus.logmel["train00"], 0))

    with pytest.raises(InputError, match="copy1 lacks clips.*train01"):
        training_clips(features, ("train",), corpus.description, copies=features)
