import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from transformers.modeling_tf_utils import keras

from ser_nsl.errors import InputError
from ser_nsl.upstream.settings import FineTuningConfig
from ser_nsl.upstream.tuner import Tuner

CLASSES = ("anger", "neutral", "sadness")
CONFIG = FineTuningConfig(batch_size=4, learning_rate=0.005, clip_seconds=0.25, seed=3)
LABELS = np.array([0, 1, 2, 1], np.int32)


def make_tuner(upstream, **changes) -> Tuner:
    config = replace(CONFIG, **changes)
    return Tuner(str(upstream), CLASSES, config, steps=20, strategy=tf.distribute.get_strategy())


def noise(clips: int = 4) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(clips, 4_000)).astype(np.float32)


def train(tuner: Tuner, inputs: np.ndarray, labels: np.ndarray = LABELS, steps: int = 3):
    random = np.random.default_rng(0)
    return [tuner.train(inputs, labels, random) for _ in range(steps)]


def weights(tuner: Tuner) -> list[np.ndarray]:
    return [variable.numpy() for variable in tuner.model.weights]


@pytest.fixture
def with_settings(small_upstream, tmp_path):
    """Makes a checkpoint without dropout, whose config.json has other settings."""

    def change(**settings):
        out = shutil.copytree(small_upstream, tmp_path / "changed")
        config = json.loads((out / "config.json").read_text())
        (out / "config.json").write_text(
            json.dumps(config | {"activation_dropout": 0.0} | settings)
        )
        return out

    return change


@pytest.fixture
def upstream(with_settings):
    """A checkpoint that neither drops nor masks."""
    return with_settings()


def test_parts_give_the_gradients_of_the_whole(upstream):
    whole, parts = (
        make_tuner(upstream, freeze_feature_encoder=False, accumulate=n) for n in (1, 4)
    )
    before = weights(whole)
    losses = train(whole, noise())

    np.testing.assert_allclose(train(parts, noise()), losses, rtol=1e-4)
    for variable, one, other in zip(
        whole.model.weights, weights(whole), weights(parts), strict=True
    ):
        # Attention does not heed the keys' bias: its gradient is rounding, which Adam enlarges.
        if "k_proj/bias" not in variable.name:
            np.testing.assert_allclose(one, other, atol=1e-5, err_msg=variable.name)
    assert not np.array_equal(weights(whole)[-1], before[-1])


def test_clips_that_fill_up_a_batch_do_not_count(upstream):
    full = make_tuner(upstream, batch_size=3)
    filled = make_tuner(upstream, batch_size=4)
    losses = train(full, noise(3), LABELS[:3])

    np.testing.assert_allclose(train(filled, noise(3), LABELS[:3]), losses, rtol=1e-4)
    logits = full._logits(full._embed({"inputs": tf.constant(noise(3))}, training=False))
    right = np.argmax(logits, axis=1) == LABELS[:3]
    for tuner in (full, filled):
        assert tuner.uar(iter([(noise(3), LABELS[:3])])) == pytest.approx(right.mean())


def test_frames_stand_for_waveforms(upstream):
    one, other = make_tuner(upstream), make_tuner(upstream)

    np.testing.assert_allclose(
        train(one, one.frames(noise()).numpy()), train(other, noise()), rtol=1e-5
    )


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(precision, with_settings):
    upstream = with_settings(hidden_dropout=0.1, apply_spec_augment=True, mask_feature_prob=0.1)
    mixed = make_tuner(upstream, precision=precision, accumulate=2)

    assert keras.mixed_precision.global_policy().name == "float32"
    assert mixed.frames(noise()).dtype == tf.as_dtype(precision.removeprefix("mixed_"))
    assert {variable.dtype for variable in mixed.model.weights} == {tf.float32}
    plain = make_tuner(upstream)
    one, other = (
        tuner._logits(tuner._embed({"inputs": tf.constant(noise())}, training=False))
        for tuner in (mixed, plain)
    )
    np.testing.assert_allclose(one, other, atol=0.05)
    assert not np.array_equal(one, other)
    # The first steps of float16 may be left out, until the scale of the loss is right.
    losses = train(mixed, mixed.frames(noise()).numpy(), steps=10)
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.5 * losses[0]


def test_fc1_learns_to_tell_statistics(upstream):
    def told_badly(tuner):
        frames = tuner.frames(noise())
        embedding = tuner._embed({"inputs": frames}, training=False)
        return tf.reduce_mean(tuner._statistics_losses(embedding, frames)).numpy()

    teller, other = (make_tuner(upstream, statistics=each) for each in (1.0, 0.0))
    for tuner in (teller, other):
        tuner.hear(tuner.frames(noise()).numpy())
    before, head = told_badly(teller), other._tell.kernel.numpy()
    for tuner in (teller, other):
        train(tuner, tuner.frames(noise()).numpy(), steps=20)

    assert told_badly(teller) < 0.5 * before
    np.testing.assert_array_equal(other._tell.kernel, head)
    with pytest.raises(ValueError, match="statistics must be 0, or above it with freeze_feature"):
        FineTuningConfig(statistics=1.0, freeze_feature_encoder=False)


def test_linear_schedule(upstream):
    tuner = make_tuner(upstream, schedule="linear")
    rates = []
    for step in range(20):
        tuner.optimizer.iterations.assign(step)
        rates.append(tuner.learning_rate / CONFIG.learning_rate)
    tuner.optimizer.iterations.assign(11)
    train(tuner, noise(), steps=1)

    assert rates[:4] == pytest.approx([0.5, 1, 1, 17 / 18])
    assert rates[-1] == pytest.approx(1 / 18)
    assert float(tuner.optimizer.learning_rate) == pytest.approx(CONFIG.learning_rate / 2)
    assert make_tuner(upstream).learning_rate == CONFIG.learning_rate


def test_label_smoothing(upstream):
    tuner = make_tuner(upstream, label_smoothing=0.3)
    logs = tf.nn.log_softmax(
        tuner._logits(tuner._embed({"inputs": tf.constant(noise())}, training=False))
    ).numpy()
    expected = -(0.7 * logs[np.arange(4), LABELS] + 0.3 * logs.mean(axis=1)).mean()

    assert train(tuner, noise(), steps=1) == pytest.approx([expected], rel=1e-4)


@pytest.mark.parametrize("kind", ["time", "feature"])
def test_masks_hide_what_the_checkpoint_says(kind, with_settings):
    probabilities = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, f"mask_{kind}_prob": 1.0}
    lengths = {"mask_time_length": 1, "mask_feature_length": 1}
    upstream = with_settings(apply_spec_augment=True, **probabilities, **lengths)
    losses = [
        train(make_tuner(upstream), inputs, steps=1) for inputs in (noise(), noise()[:, ::-1])
    ]

    # Everything is hidden: what was said makes no difference.
    assert losses[0] == losses[1]


def test_the_mask_is_learned(with_settings):
    tuner = make_tuner(with_settings(apply_spec_augment=True, mask_time_prob=0.5))
    [mask] = [v for v in tuner.model.weights if "masked_spec_embed" in v.name]
    before = mask.numpy()
    train(tuner, noise(), steps=1)

    assert not np.array_equal(mask.numpy(), before)


def test_infinite_loss_changes_nothing(upstream):
    tuner = make_tuner(upstream)
    train(tuner, noise(), steps=1)
    before = weights(tuner)
    bad = noise()
    bad[2, 5] = np.nan

    assert np.isnan(train(tuner, bad, steps=1)).all()
    for one, other in zip(before, weights(tuner), strict=True):
        np.testing.assert_array_equal(one, other)
    train(tuner, noise(), steps=1)
    assert all(np.isfinite(one).all() for one in weights(tuner))


def test_batch_that_cannot_be_shared_out(upstream):
    class TwoDevices:
        num_replicas_in_sync = 2

    with pytest.raises(InputError, match="multiple of accumulate times devices, that is of 4; rec"):
        Tuner(
            str(upstream),
            CLASSES,
            replace(CONFIG, batch_size=6, accumulate=2),
            steps=1,
            strategy=TwoDevices(),
        )


@pytest.mark.parametrize(
    "setting, value",
    [
        ("accumulate", 3),
        ("accumulate", 0),
        ("schedule", "cosine"),
        ("label_smoothing", 1.0),
        ("augmentations", -1),
        ("precision", "float16"),
    ],
)
def test_settings_out_of_range(setting, value):
    with pytest.raises(ValueError, match=f"{setting} must be .*; received {value!r}"):
        replace(CONFIG, **{setting: value})
