"""The records between stages: one `tf.Example` a clip.

| Folder | Features of an example | Type |
|---|---|---|
| features | `id`, `logmel` (frames x mels, dB), `label` (-1: none) | bytes, float, int64 |
| embeddings | `id`, `embedding`, `upstream` (not from other tools) | bytes, float, bytes |
| training | those of features, `NL_num_nbrs`; of neighbours `NL_nbr_<i>_...` | as above |

Training records have an indexed form too. `ser_nsl/graph/official.py` and `indexed.py` read them.
"""

from __future__ import annotations

import numpy as np

from ser_nsl.lazy import tf

UNLABELLED = -1
"""The label of clips without an emotion."""

LARGEST = 1e6
"""No decibel, number of an embedding, or weight of an edge is as large."""


def feature_example(utterance_id: str, logmel: np.ndarray, label: int) -> tf.train.Example:
    """Makes the record of a clip's features.

    Args:
        utterance_id: Id of the clip.
        logmel: float32, shape `(frames, mels)`.
        label: Index of the class, or `UNLABELLED`.

    Returns:
        Example with `id` (bytes), `logmel` (floats, frame by frame) and `label` (int64).

    Example:
        >>> example = feature_example("clip", np.zeros((2, 3), np.float32), label=1)
        >>> sorted(example.features.feature), example.ByteSize()
        (['id', 'label', 'logmel'], 74)
    """
    return _example(utterance_id, logmel=logmel.ravel(), label=label)


def embedding_example(
    utterance_id: str, embedding: np.ndarray, upstream: str = ""
) -> tf.train.Example:
    """Makes the record of a clip's embedding, in the form that `nsl.tools.build_graph` reads.

    Args:
        utterance_id: Id of the clip.
        embedding: float32, shape `(width,)`.
        upstream: Hash of the checkpoint and the layer, e.g. `0123456789abcdef:fc1`. If empty, the
            record looks like those of other tools.

    Returns:
        Example with `id` (bytes), `embedding` (floats) and, unless it is empty, `upstream` (bytes).

    Example:
        >>> example = embedding_example("clip", np.array([0.5, 2.0]), "0123456789abcdef:fc1")
        >>> example.features.feature["embedding"].float_list.value
        [0.5, 2.0]
    """
    made_by = {"upstream": upstream} if upstream else {}
    return _example(utterance_id, embedding=embedding, **made_by)


def _example(utterance_id: str, **values: np.ndarray | int | str) -> tf.train.Example:
    example = tf.train.Example()
    feature = example.features.feature
    feature["id"].bytes_list.value.append(utterance_id.encode())
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            feature[name].float_list.value.extend(value.tolist())
        elif isinstance(value, str):
            feature[name].bytes_list.value.append(value.encode())
        else:
            feature[name].int64_list.value.append(value)
    return example


def example_id(example: tf.train.Example) -> str:
    """Returns the id of an example, empty where it has none."""
    values = example.features.feature["id"].bytes_list.value
    return values[0].decode() if values else ""
