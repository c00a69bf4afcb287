"""Unweighted average recall as a Keras metric."""

from typing import Any

import tensorflow as tf


class UAR(tf.keras.metrics.Metric):
    """Unweighted average recall, from a confusion matrix of all batches.

    It equals scikit-learn's balanced accuracy on the whole set: classes without a clip are left out
    of the mean.

    Example:
        >>> metric = UAR(3)
        >>> metric.update_state([0, 0, 0, 1], tf.one_hot([0, 0, 1, 1], 3))
        >>> round(float(metric.result()), 3)
        0.833
    """

    def __init__(self, classes: int, name: str = "uar", **kwargs: Any) -> None:
        """Makes an empty confusion matrix.

        Args:
            classes: Number of classes.
            name: Name in logs.
            **kwargs: Arguments of `tf.keras.metrics.Metric`.
        """
        super().__init__(name=name, **kwargs)
        self.classes = classes
        self.confusion = self.add_weight(
            "confusion", shape=(classes, classes), initializer="zeros", dtype=tf.float32
        )

    @tf.autograph.experimental.do_not_convert  # in mixed precision TensorFlow would warn
    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> None:
        """Counts a batch.

        Args:
            y_true: Indices of the true classes, int, shape `(batch,)` or `(batch, 1)`.
            y_pred: Logits or probabilities, float, shape `(batch, classes)`.
            sample_weight: Weights, float, shape `(batch,)`: clips of weight 0 are left out, all
                others count the same.
        """
        if sample_weight is not None:
            sample_weight = tf.reshape(tf.not_equal(sample_weight, 0), [-1])
        self.confusion.assign_add(
            tf.math.confusion_matrix(
                tf.reshape(y_true, [-1]),
                tf.argmax(y_pred, axis=-1),
                num_classes=self.classes,
                weights=sample_weight,
                dtype=tf.float32,
            )
        )

    def result(self) -> tf.Tensor:
        """Returns the mean recall of the classes that have clips, a float32 scalar in [0, 1]."""
        clips = tf.reduce_sum(self.confusion, axis=1)
        present = tf.cast(clips > 0, tf.float32)
        recalls = tf.math.divide_no_nan(tf.linalg.diag_part(self.confusion), clips)
        return tf.math.divide_no_nan(tf.reduce_sum(recalls), tf.reduce_sum(present))

    def reset_state(self) -> None:
        """Empties the confusion matrix."""
        self.confusion.assign(tf.zeros_like(self.confusion))

    def get_config(self) -> dict[str, Any]:
        """Returns the settings from which Keras makes the metric again."""
        return {**super().get_config(), "classes": self.classes}
