import tf_keras
from tensorflow.python.autograph.impl.conversion import is_allowlisted

from ser_nsl.networks.autograph import leave_tf_keras


class Own(tf_keras.Model):
    """A network of a user, which may branch on tensors."""

    def call(self, inputs):
        return inputs


def test_a_library_is_not_converted_and_a_user_s_class_is():
    leave_tf_keras()

    assert is_allowlisted(tf_keras.Model.train_step)
    assert not is_allowlisted(Own.call)
