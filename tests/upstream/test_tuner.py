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


def logits(tuner: Tuner, inputs: np.ndarray) -> np.ndarray:
    return tuner._logits({"inputs": tf.constant(inputs)}, training=False).numpy()


@pytest.fixture(scope="module")
def with_settings(small_upstream, tmp_path_factory):
    """Makes a checkpoint without dropout, whose config.json has other settings."""

    def change(**settings):
        out = shutil.copytree(small_upstream, tmp_path_factory.mktemp("changed") / "upstream")
        config = json.loads((out / "config.json").read_text())
        (out / "config.json").write_text(
            json.dumps(config | {"activation_dropout": 0.0} | settings)
        )
        return out

    return change


@pytest.fixture(scope="module")
def upstream(with_settings):
    """A checkpoint that neither drops nor masks."""
    return with_settings()


def test_parts_and_filled_batches_give_the_same_steps(upstream):
    full, filled, parts = (
        make_tuner(upstream, batch_size=size, accumulate=number)
        for size, number in ((3, 1), (4, 1), (4, 4))
    )
    before = weights(full)
    losses = train(full, noise(3), LABELS[:3], steps=2)

    assert not np.array_equal(weights(full)[-1], before[-1])
    for tuner in (filled, parts):
        np.testing.assert_allclose(train(tuner, noise(3), LABELS[:3], steps=2), losses, rtol=1e-4)
        for variable, one, other in zip(
            full.model.weights, weights(full), weights(tuner), strict=True
        ):
            # Attention does not depend on the keys' bias: its gradient is rounding, which Adam
            # enlarges.
            if "k_proj/bias" not in variable.name:
                np.testing.assert_allclose(one, other, atol=1e-5, err_msg=variable.name)
    right = np.argmax(logits(parts, noise(3)), axis=1) == LABELS[:3]
    assert parts.uar(iter([(noise(3), LABELS[:3])])) == pytest.approx(right.mean())


def test_frames_replace_waveforms(upstream):
    tuner = make_tuner(upstream)

    np.testing.assert_allclose(
        logits(tuner, tuner.frames(noise()).numpy()), logits(tuner, noise()), rtol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(precision, with_settings):
    upstream = with_settings(hidden_dropout=0.1, apply_spec_augment=True, mask_feature_prob=0.1)
    mixed = make_tuner(upstream, precision=precision, accumulate=2)

    assert keras.mixed_precision.global_policy().name == "float32"
    assert mixed.frames(noise()).dtype == tf.as_dtype(precision.removeprefix("mixed_"))
    assert {variable.dtype for variable in mixed.model.weights} == {tf.float32}
    one, other = logits(mixed, noise()), logits(make_tuner(upstream), noise())
    np.testing.assert_allclose(one, other, atol=0.05)
    assert not np.array_equal(one, other)
    # The first steps of float16 may be left out, until the scale of the loss is right.
    losses = train(mixed, mixed.frames(noise()).numpy(), steps=10)
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.5 * losses[0]


def test_linear_schedule_and_loss(upstream):
    tuner = make_tuner(upstream, schedule="linear")
    rates = []
    for step in range(20):
        tuner.optimizer.iterations.assign(step)
        rates.append(tuner.learning_rate / CONFIG.learning_rate)
    assert rates[:4] == pytest.approx([0.5, 1, 1, 17 / 18])
    assert rates[-1] == pytest.approx(1 / 18)
    assert make_tuner(upstream).learning_rate == CONFIG.learning_rate

    logs = tf.nn.log_softmax(logits(tuner, noise())).numpy()
    expected = -logs[np.arange(4), LABELS].mean()
    tuner.optimizer.iterations.assign(11)
    assert train(tuner, noise(), steps=1) == pytest.approx([expected], rel=1e-4)
    assert float(tuner.optimizer.learning_rate) == pytest.approx(CONFIG.learning_rate / 2)


@pytest.mark.parametrize("kind", ["time", "feature"])
def test_masks_hide_everything_where_the_checkpoint_says_so(kind, with_settings):
    shares = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, f"mask_{kind}_prob": 1.0}
    lengths = {"mask_time_length": 1, "mask_feature_length": 1}
    tuner = make_tuner(with_settings(apply_spec_augment=True, **shares, **lengths))
    tuner._apply_gradients = lambda: None
    [mask] = [v for v in tuner.model.weights if "masked_spec_embed" in v.name]
    gradients = dict(zip((v.name for v in tuner._variables), tuner._gradients, strict=True))

    [loss] = train(tuner, noise(), steps=1)
    assert train(tuner, noise()[:, ::-1], steps=1) == [loss]  # what is hidden has no influence
    assert (mask.name in gradients) == (kind == "time")  # the mask is learned where it is used
    assert kind != "time" or gradients[mask.name].numpy().any()


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


def test_batch_that_cannot_be_divided(upstream):
    class TwoDevices:
        num_replicas_in_sync = 2

    with pytest.raises(InputError, match="batch_size: .* 4; received 6"):
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
        ("precision", "float16"),
    ],
)
def test_settings_out_of_range(setting, value):
    with pytest.raises(ValueError, match=f"{setting} must be .*; received {value!r}"):
        replace(CONFIG, **{setting: value})
