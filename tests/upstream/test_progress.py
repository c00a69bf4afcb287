import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.errors import InputError
from ser_nsl.upstream.progress import check_finite


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_spoilt_weights_are_refused(bad):
    weights = [tf.Variable([1.0, 2.0]), tf.Variable([3.0])]
    check_finite(weights, "epoch 2", 0.1)
    weights[1].assign([bad])

    with pytest.raises(InputError, match="NaN or infinite after epoch 2, at 0.1; choose a lower"):
        check_finite(weights, "epoch 2", 0.1)
