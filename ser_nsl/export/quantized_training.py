"""Training on with the rounding of 8 bits in the network, in a process of its own.

tensorflow-model-optimization must be imported before Keras is, or the classes of Keras and of
tf-keras get mixed up. So `python -m ser_nsl.export.quantized_training FOLDER` does the work, and
nothing here imports either where it could come too late.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from ser_nsl.errors import InputError

_LEARNING_RATE = 1e-5
_BATCH = 16
_EXAMPLES = 100  # the ranges are learned; only for what is exact in training they are chosen
_CLIPS_NAME, _RESULT_NAME = "clips.npz", "tuned.tflite"


def tuned_for_int8(
    model_dir: Path, logmels: np.ndarray, labels: np.ndarray, *, epochs: int
) -> bytes:
    """Trains a copy of a network on, rounding as int8 will, so that it learns to live with it.

    The scheme is that of tensorflow-model-optimization (arXiv 1712.05877), at a learning rate of
    1e-5. Standardisation and reshaping of the input, which learn nothing, are exact meanwhile.

    Args:
        model_dir: Folder of a trained model, functional or Sequential.
        logmels: float32, shape `(clips, frames, mels)`, in dB: training clips.
        labels: int, shape `(clips,)`: their classes.
        epochs: Passes over the clips.

    Returns:
        The copy in int8 behind its front end in float32, as `ser_nsl.export.convert.to_tflite`
        makes it.

    Raises:
        InputError: If there is no clip, or tensorflow-model-optimization is not installed or has no
            scheme for a layer.
    """
    if not len(labels):
        raise InputError("tune_epochs: needs training clips with a label, but there is none.")
    if importlib.util.find_spec("tensorflow_model_optimization") is None:
        raise InputError(
            "tune_epochs: needs tensorflow-model-optimization; run `pip install dm-tree` and `pip "
            "install --no-deps tensorflow-model-optimization==0.8.0` (it asks for an absl-py that "
            "MediaPipe refuses, but works with MediaPipe's)."
        )
    if not (model_dir / "model.h5").is_file():
        raise InputError(
            f"tune_epochs: {model_dir} holds a subclassed model or layers of one's own, for which "
            "there is no scheme; choose 0, or make it a functional one of Keras's layers."
        )
    with tempfile.TemporaryDirectory() as folder:
        for name in ("model.h5", "description.json"):
            shutil.copy(model_dir / name, folder)
        np.savez(Path(folder) / _CLIPS_NAME, logmels=logmels, labels=labels)
        command = [sys.executable, "-m", "ser_nsl.export.quantized_training", folder, str(epochs)]
        # Which transformers sets for the whole process, and which would mix them up again.
        kept = {key: value for key, value in os.environ.items() if key != "TF_USE_LEGACY_KERAS"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=kept)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["killed"])[-1]
            raise InputError(f"tune_epochs: {model_dir} cannot be trained for int8 ({reason}).")
        return (Path(folder) / _RESULT_NAME).read_bytes()


def _tune(folder: Path, epochs: int) -> None:
    from tensorflow_model_optimization.quantization import keras as quantization  # isort: skip
    import tensorflow as tf

    from ser_nsl.export.convert import to_tflite
    from ser_nsl.networks.saved import load_model

    def annotated(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
        exact = (tf.keras.layers.InputLayer, tf.keras.layers.Normalization, tf.keras.layers.Reshape)
        return layer if isinstance(layer, exact) else quantization.quantize_annotate_layer(layer)

    model, description = load_model(folder)
    copy = tf.keras.models.clone_model(model, clone_function=annotated)
    tuned = quantization.quantize_apply(copy)
    tuned.compile(
        tf.keras.optimizers.Adam(_LEARNING_RATE),
        tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    clips = np.load(folder / _CLIPS_NAME)
    logmels, labels = clips["logmels"], clips["labels"]
    tf.keras.utils.set_random_seed(0)
    batches = tf.data.Dataset.from_tensor_slices((logmels, labels))
    tuned.fit(batches.shuffle(len(labels), seed=0).batch(_BATCH), epochs=epochs, verbose=0)
    (folder / _RESULT_NAME).write_bytes(to_tflite(tuned, description, "int8", logmels[:_EXAMPLES]))


if __name__ == "__main__":
    _tune(Path(sys.argv[1]), int(sys.argv[2]))
