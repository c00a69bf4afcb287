from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.audio.features import Description
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.errors import InputError
from ser_nsl.training.augment import augment, augmented, check_lengths
from ser_nsl.training.settings import AugmentationConfig

CLIPS, FRAMES, BANDS = 200, 30, 12
DESCRIPTION = Description(
    FrontEndConfig(mel_bins=BANDS),
    512 + (FRAMES - 1) * 256,
    ("anger", "joy"),
    tuple(range(-BANDS, 0)),
    (10.0,) * BANDS,
)
SEED = tf.constant([3, 4], tf.int64)


@pytest.fixture(scope="module")
def logmel() -> np.ndarray:
    """No two values of a clip alike, and none equal to a mean."""
    random = np.random.default_rng(0)
    return random.uniform(-60, -20, (CLIPS, FRAMES, BANDS)).astype(np.float32)


def altered(logmel, seed=SEED, **settings) -> np.ndarray:
    return augment(logmel, seed, AugmentationConfig(**settings), DESCRIPTION).numpy()


def test_nothing_happens_by_default(logmel):
    np.testing.assert_array_equal(altered(logmel), logmel)


def test_clips_are_rolled_by_every_shift_up_to_the_most(logmel):
    rolled = altered(logmel, time_shift_frames=2)

    shifts = []
    for clip, original in zip(rolled, logmel, strict=True):
        (shift,) = (s for s in range(-2, 3) if np.array_equal(clip, np.roll(original, s, axis=0)))
        shifts.append(shift)
    counts = np.bincount(np.array(shifts) + 2)
    assert len(counts) == 5
    assert counts.min() > CLIPS / 5 / 2  # 40 expected


@pytest.mark.parametrize(
    ("axis", "settings", "longest"),
    [
        (1, {"time_masks": 1, "time_mask_frames": 6}, 6),
        (2, {"band_masks": 1, "band_mask_width": 4}, 4),
        (2, {"band_masks": 1, "band_mask_width": BANDS}, BANDS),
    ],
)
def test_masks_hide_stretches_behind_the_mean_of_the_band(axis, settings, longest, logmel):
    masked = altered(logmel, **settings)

    hidden = masked != logmel
    np.testing.assert_array_equal(masked, np.where(hidden, DESCRIPTION.mean, logmel))
    places = hidden.any(axis=3 - axis)
    np.testing.assert_array_equal(places, hidden.all(axis=3 - axis))  # whole frames, whole bands
    lengths = places.sum(axis=1)
    assert set(lengths) == set(range(longest + 1))
    edges = np.diff(np.pad(places, [(0, 0), (1, 1)]).astype(int), axis=1)
    assert ((edges == 1).sum(axis=1) <= 1).all()  # in one piece
    assert places.any(axis=0).all()  # anywhere


def test_several_masks_hide_more(logmel):
    one = altered(logmel, time_masks=1, time_mask_frames=4)
    three = altered(logmel, time_masks=3, time_mask_frames=4, band_masks=1, band_mask_width=1)

    hidden = (three != logmel).any(axis=2).sum() / (one != logmel).any(axis=2).sum()
    assert hidden > 2
    assert (three != logmel).all(axis=2).sum(axis=1).max() > 4


def test_seed_decides_whatever_runs(logmel):
    settings = AugmentationConfig(2, 1, 6, 1, 4)
    eager = augment(logmel, SEED, settings, DESCRIPTION)
    in_graph = tf.function(augment)(tf.constant(logmel), SEED, settings, DESCRIPTION)
    other = augment(logmel, SEED + 1, settings, DESCRIPTION)

    np.testing.assert_allclose(eager, in_graph, atol=1e-4)
    assert not np.allclose(eager, other)


def test_only_clips_are_altered_and_differently_in_each_step(logmel):
    inputs = {"logmel": logmel[:4], "NL_nbr_0_logmel": logmel[:4], "NL_nbr_0_weight": np.ones(4)}
    batches = tf.data.Dataset.from_tensors((inputs, np.arange(4), np.ones(4))).repeat(3)
    settings = AugmentationConfig(time_shift_frames=9)

    made = [*augmented(batches, DESCRIPTION, settings, seed=3, first_epoch=1).as_numpy_iterator()]

    assert len({each["logmel"].tobytes() for each, _, _ in made}) == 3
    for each, label, weight in made:
        np.testing.assert_array_equal(each["NL_nbr_0_logmel"], logmel[:4])
        assert label.tolist() == [0, 1, 2, 3]
        assert weight.tolist() == [1] * 4
    assert augmented(batches, DESCRIPTION, AugmentationConfig(), seed=3, first_epoch=1) is batches


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"time_shift_frames": 30}, "time_shift_frames: must be at most 29, since clips have 30"),
        ({"time_masks": 1, "time_mask_frames": 31}, "time_mask_frames: must be at most 30"),
        ({"band_masks": 1, "band_mask_width": 13}, "band_mask_width: must be at most 12"),
    ],
)
def test_what_is_longer_than_a_clip_is_refused(settings, message):
    config = AugmentationConfig(**settings)
    with pytest.raises(InputError, match=message):
        check_lengths(config, DESCRIPTION)
    check_lengths(replace(config, time_shift_frames=29, time_masks=0, band_masks=0), DESCRIPTION)
