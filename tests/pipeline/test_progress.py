import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.errors import InputError
from ser_nsl.pipeline.progress import Progress


@pytest.fixture
def weights() -> list[tf.Variable]:
    return [tf.Variable([0.0, 0.0]), tf.Variable([[0.0]])]


def run_epoch(progress: Progress, weights: list[tf.Variable], value: float, **measured) -> None:
    for weight in weights:
        weight.assign(tf.fill(weight.shape, float(value)))
    progress.save(measured)


@pytest.mark.parametrize(("keep", "kept", "expected"), [("best", 1, 2.0), ("last", 3, 4.0)])
def test_first_of_the_best_epochs_or_the_last_one_is_kept(keep, kept, expected, weights, tmp_path):
    progress = Progress(tmp_path, weights, keep=keep)
    for epoch, uar in enumerate([0.0, 0.7, 0.7, 0.6], start=1):
        run_epoch(progress, weights, epoch, val_uar=uar)

    again = Progress(tmp_path, weights, keep=keep)
    assert again.history == progress.history
    assert again.kept_epoch == kept
    again.restore_kept()

    assert [weight.numpy().max() for weight in weights] == [expected] * 2


def test_optimizer_goes_on_where_it_stopped(weights, tmp_path):
    def step(optimizer: tf.keras.optimizers.Optimizer) -> list[float]:
        optimizer.apply_gradients([(tf.ones_like(weight), weight) for weight in weights])
        return weights[0].numpy().tolist()

    optimizers = [tf.keras.optimizers.Adam(0.1, weight_decay=0.1) for _ in range(2)]
    for optimizer in optimizers:
        optimizer.build(weights)
    step(optimizers[0])
    Progress(tmp_path, weights, keep="last", optimizer=optimizers[0]).save({"loss": 1.0})
    expected = step(optimizers[0])

    progress = Progress(tmp_path, weights, keep="last", optimizer=optimizers[1])

    assert progress.history == [{"loss": 1.0}]
    assert step(optimizers[1]) == expected


def test_full_disk_leaves_the_epoch_before(weights, tmp_path, monkeypatch):
    progress = Progress(tmp_path, weights, keep="last")
    run_epoch(progress, weights, 1.0, loss=1.0)

    def full(*given, **named):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.train.Checkpoint, "_write", full)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        run_epoch(progress, weights, 2.0, loss=2.0)
    monkeypatch.undo()

    assert Progress(tmp_path, weights, keep="last").history == [{"loss": 1.0}]
    assert weights[0].numpy().tolist() == [1.0, 1.0]


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_spoilt_weights_are_not_saved(bad, weights, tmp_path):
    progress = Progress(tmp_path, weights, keep="last")
    run_epoch(progress, weights, 1.0)

    with pytest.raises(InputError, match="learning_rate: .* NaN or infinite after epoch 2"):
        run_epoch(progress, weights, bad)

    progress.restore_last()
    assert progress.history == [{}]
    assert weights[0].numpy().tolist() == [1.0, 1.0]


def test_removed_progress_starts_from_nothing(weights, tmp_path):
    progress = Progress(tmp_path / "epochs", weights, keep="last")
    run_epoch(progress, weights, 1.0)

    progress.remove()

    assert not (tmp_path / "epochs").exists()
    assert Progress(tmp_path / "epochs", weights, keep="last").history == []
