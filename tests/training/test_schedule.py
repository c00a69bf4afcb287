import json
import subprocess
import sys

import pytest
import tensorflow as tf

from ser_nsl.errors import InputError
from ser_nsl.training.schedule import learning_rate_schedule
from ser_nsl.training.settings import TrainingConfig


def test_default_falls_by_stairs():
    config = TrainingConfig(learning_rate=0.1, decay=0.5, decay_epochs=2)

    rate = learning_rate_schedule(config, steps=3)

    expected = {0: 0.1, 5: 0.1, 6: 0.05, 11: 0.05, 12: 0.025}
    assert {step: float(rate(step)) for step in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    "schedule",
    [
        tf.keras.optimizers.schedules.CosineDecay(0.0, 100, warmup_target=0.1, warmup_steps=10),
        tf.keras.optimizers.schedules.PiecewiseConstantDecay([10, 20], [0.3, 0.2, 0.1]),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_any_schedule_of_keras_is_read(schedule):
    form = tf.keras.optimizers.schedules.serialize(schedule)
    brief = {name: form[name] for name in ("class_name", "config")}

    for text in (json.dumps(form), json.dumps(brief)):
        read = learning_rate_schedule(TrainingConfig(schedule=text), steps=3)
        for step in (0, 5, 15, 99):
            at = tf.constant(step, tf.int64)
            assert float(read(at)) == pytest.approx(float(schedule(at)))


@pytest.mark.parametrize("text", ["fast", "[1]", '{"class_name": "CosineDecay"}'])
def test_other_forms_are_refused_by_the_settings(text):
    with pytest.raises(ValueError, match="schedule must be JSON of a Keras schedule"):
        TrainingConfig(schedule=text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"class_name": "Cosine", "config": {}}', "no attribute 'Cosine'"),
        ('{"class_name": "CosineDecay", "config": {"rate": 1}}', "unexpected keyword .*'rate'"),
        (
            '{"class_name": "ExponentialDecay", "config": '
            '{"initial_learning_rate": 0.1, "decay_steps": 0, "decay_rate": 0.9}}',
            "0 or more; .* starts with nan",
        ),
    ],
)
def test_schedules_that_keras_cannot_make_are_refused(text, message):
    with pytest.raises(InputError, match=f"training.schedule: .*{message}"):
        learning_rate_schedule(TrainingConfig(schedule=text), steps=1)


@pytest.mark.slow
def test_schedule_is_of_the_keras_that_trains():
    """Once transformers is imported, Keras's own `deserialize` takes classes of tf-keras."""
    program = """
import tensorflow as tf
tf.keras.layers.Dense  # so that TensorFlow's own Keras is the one that trains
import transformers.modeling_tf_utils
from ser_nsl.training import TrainingConfig
from ser_nsl.training.schedule import learning_rate_schedule
schedule = learning_rate_schedule(
    TrainingConfig(
        schedule='{"class_name": "ExponentialDecay", "config": '
        '{"initial_learning_rate": 0.1, "decay_steps": 1, "decay_rate": 0.9}}'
    ),
    steps=1,
)
assert isinstance(schedule, tf.keras.optimizers.schedules.LearningRateSchedule), type(schedule)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-500:]
