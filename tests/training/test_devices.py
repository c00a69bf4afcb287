import json
import os
import socket
import subprocess
import sys

import pytest
import tensorflow as tf

from ser_nsl.errors import InputError
from ser_nsl.training.devices import _gpus, _workers, all_devices, check_shares, divided
from ser_nsl.training.settings import TrainingConfig
from ser_nsl.training.train import train_downstream

WORKER = """
from pathlib import PosixPath
from ser_nsl.pipeline.progress import least_of_workers
from ser_nsl.training import AugmentationConfig, TrainingConfig, train_downstream
import ser_nsl.training.fit as module
def fit(trained, *given, real=module.fit, **settings):
    assert least_of_workers(3 + {index}, trained.distribute_strategy) == 3
    return real(trained, *given, **settings)
module.fit = fit
train_downstream(**{given!r}, out={out!r})
"""


@pytest.mark.slow
# Adam makes whole steps of the rounding of small gradients, of which the graph's part has more.
@pytest.mark.parametrize(("method", "rate"), [("base", 1e-4), ("nsl", 1e-5)])
def test_two_workers_train_as_one(method, rate, corpus, tmp_path):
    training = TrainingConfig(
        epochs=2, epoch_steps=2, batch_size=4, learning_rate=rate, neighbors="batch"
    )
    given = {"features": corpus.features, "model": "cnn6", "method": method, "training": training}
    if method == "nsl":
        given |= {"training_records": corpus.indexed_records, "max_neighbors": 2}
    with socket.socket() as one, socket.socket() as two:
        one.bind(("localhost", 0))
        two.bind(("localhost", 0))
        ports = [each.getsockname()[1] for each in (one, two)]
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    workers = []
    for index in range(2):
        task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        script = WORKER.format(index=index, given=given, out=tmp_path / f"worker{index}")
        environment = os.environ | {"TF_CONFIG": json.dumps(task)}
        workers.append(subprocess.Popen([sys.executable, "-c", script], env=environment))
    try:
        train_downstream(**given, out=tmp_path / "alone")
        assert [worker.wait(1_800) for worker in workers] == [0, 0]  # unless they hang
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()

    alone, first, second = (
        json.loads((tmp_path / name / "history.json").read_text())
        for name in ("alone", "worker0", "worker1")
    )
    assert first == second
    for epoch, expected in zip(first, alone, strict=True):
        assert epoch == pytest.approx(expected, rel=1e-4)


TWICE = """
from pathlib import PosixPath
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
devices = tf.config.list_logical_devices("CPU")
tf.config.list_logical_devices = lambda kind=None: devices
started, start = [], tf.distribute.MirroredStrategy
def count():
    started.append(start([device.name for device in devices]))
    return started[-1]
tf.distribute.MirroredStrategy = count
from ser_nsl.training import AugmentationConfig, TrainingConfig, train_downstream
for out in {outs!r}:
    train_downstream(**{given!r}, out=out)
(strategy,) = started
assert strategy.num_replicas_in_sync == 2
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["base", "nsl"])
def test_two_devices_train_twice(method, corpus, tmp_path):
    training = TrainingConfig(epochs=1, epoch_steps=2, batch_size=4, neighbors="batch")
    given = {"features": corpus.features, "model": "cnn6", "method": method, "training": training}
    if method == "nsl":
        given |= {"training_records": corpus.indexed_records, "max_neighbors": 2}
    outs = [tmp_path / "first", tmp_path / "second"]

    script = TWICE.format(outs=outs, given=given)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr[-3_000:]
    first, second = (json.loads((out / "history.json").read_text()) for out in outs)
    assert first[0] == pytest.approx(second[0], rel=1e-4)


def test_a_process_has_one_strategy(monkeypatch):
    made = []
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda _: ["GPU:0", "GPU:1"])
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: made.append(1) or object())
    monkeypatch.setattr(
        tf.distribute, "MultiWorkerMirroredStrategy", lambda: made.append(2) or object()
    )
    _gpus.cache_clear()
    _workers.cache_clear()

    assert all_devices() is all_devices()
    monkeypatch.setenv("TF_CONFIG", "{}")
    assert all_devices() is all_devices()
    assert made == [1, 2]
    _gpus.cache_clear()
    _workers.cache_clear()


def test_the_end_of_an_epoch_waits_for_no_tuning():
    batches = divided(tf.data.Dataset.range(3).batch(2))

    assert batches.options().autotune.enabled is False
    assert [batch.tolist() for batch in batches.as_numpy_iterator()] == [[0, 1], [2]]


@pytest.mark.parametrize("value", ["worker", '{"cluster": {"worker": ["localhost:1"]}}'])
def test_bad_cluster_is_refused(value, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", value)
    tf.zeros(1)  # TensorFlow is at work

    with pytest.raises(InputError, match="^TF_CONFIG: does not start a worker"):
        all_devices()


def test_unequal_shares_are_refused():
    class Three:
        num_replicas_in_sync = 3

    check_shares(6, Three())
    with pytest.raises(InputError, match="batch_size: must be a multiple .* 3; received 16"):
        check_shares(16, Three())
