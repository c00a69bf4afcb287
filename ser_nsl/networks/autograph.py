"""Keeps AutoGraph from converting tf-keras, as it keeps itself from converting Keras."""

from functools import cache


@cache
def leave_tf_keras() -> None:
    """Has AutoGraph take tf-keras for a library, where transformers has made it `tf.keras`.

    It converts all of tf-keras as if a user had written it, which took 19 s in the first training
    of a process and 6 s in every other. What users write is converted as before.
    """
    # TensorFlow has no public list of libraries; Keras is on this one.
    from tensorflow.python.autograph.core import config
    from tensorflow.python.autograph.core.config_lib import DoNotConvert

    config.CONVERSION_RULES = (DoNotConvert("tf_keras"), *config.CONVERSION_RULES)
