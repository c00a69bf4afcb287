from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile

from ser_nsl.upstream.clips import Clips
from ser_nsl.upstream.settings import FineTuningConfig

SAMPLES = 1_600


def rows(folder, *names) -> pd.DataFrame:
    """Clips of noise; the first letter of a name is the emotion."""
    paths = [folder / f"{name}.wav" for name in names]
    for i, path in enumerate(paths):
        noise = np.random.default_rng([*map(ord, names[i])]).uniform(-0.5, 0.5, 2_000)
        soundfile.write(path, noise, 16_000)
    emotions = ["anger" if name[0] == "a" else "joy" for name in names]
    return pd.DataFrame({"utterance_id": names, "emotion": emotions, "audio": paths})


@pytest.fixture
def make_clips(tmp_path):
    """Returns a function that makes clips; convolutions are the mean of 100 samples."""

    def make(frozen: bool) -> Clips:
        tuner = SimpleNamespace(
            classes=("anger", "joy"),
            frames=lambda x: SimpleNamespace(
                numpy=lambda: x.reshape(len(x), -1, 100, 1).mean(axis=2)
            ),
        )
        config = FineTuningConfig(
            batch_size=2,
            clip_seconds=SAMPLES / 16_000,
            freeze_feature_encoder=frozen,
        )
        train, val = rows(tmp_path, "a1", "a2", "j1", "j2", "j3"), rows(tmp_path, "j4", "a3")
        return Clips(train, val, config, tuner, tmp_path)

    return make


def epoch_of(clips: Clips, epoch: int):
    """Ids, inputs and labels of an epoch, by id."""
    batches = list(clips.training(np.random.default_rng(epoch)))
    assert [len(ids) for ids, _, _ in batches] == [2, 2, 1]
    return {
        name: (values, label)
        for ids, inputs, labels in batches
        for name, values, label in zip(ids, inputs, labels, strict=True)
    }


@pytest.mark.parametrize("frozen", [True, False])
def test_each_epoch_has_each_clip_once_in_another_order(frozen, make_clips, tmp_path):
    clips = make_clips(frozen)
    epochs = [epoch_of(clips, epoch) for epoch in range(4)]

    assert (clips.trained, clips.validated) == (5, 2)
    for epoch in epochs:
        assert epoch.keys() == {"a1", "a2", "j1", "j2", "j3"}
        assert all(label == (name[0] == "j") for name, (_, label) in epoch.items())
    assert list(epochs[0]) != list(epochs[3])
    for name in epochs[0]:
        original = soundfile.read(tmp_path / f"{name}.wav", dtype="float32")[0][:SAMPLES]
        if frozen:
            original = original.reshape(-1, 100, 1).mean(axis=1)
        for epoch in epochs:
            np.testing.assert_allclose(epoch[name][0], original, rtol=1e-6)


def test_validation_clips_are_originals_in_order(make_clips, tmp_path):
    ((inputs, labels),) = make_clips(frozen=False).validation()

    assert labels.tolist() == [1, 0]
    for name, values in zip(("j4", "a3"), inputs, strict=True):
        original = soundfile.read(tmp_path / f"{name}.wav", dtype="float32")[0][:SAMPLES]
        np.testing.assert_array_equal(values, original)
