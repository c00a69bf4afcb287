import numpy as np
import tensorflow as tf

from ser_nsl.audio.examples import embedding_example, example_id, feature_example
from tests.audio.written import logmel


def test_examples_have_the_features_that_nsl_reads():
    example = feature_example("çà", logmel(1), 4).features.feature
    assert example["id"].bytes_list.value == ["çà".encode()]
    assert example["logmel"].float_list.value == [10, 11, 12, 13, 14, 15]
    assert example["label"].int64_list.value == [4]
    assert set(example) == {"id", "logmel", "label"}

    example = embedding_example("a", np.array([0.5, -1], np.float32)).features.feature
    assert example["embedding"].float_list.value == [0.5, -1]
    assert set(example) == {"id", "embedding"}

    example = embedding_example("a", np.array([1], np.float32), "0123:fc1").features.feature
    assert example["upstream"].bytes_list.value == [b"0123:fc1"]


def test_example_without_an_id():
    assert example_id(tf.train.Example()) == ""
