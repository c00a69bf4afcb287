"""Each test starts a fresh interpreter, since imports cannot be undone."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.audio.features import Description
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.networks.blocks import classify, conv_norm_relu, logmel_input
from ser_nsl.networks.saved import save_model

HEAVY = {"tensorflow", "transformers", "neural_structured_learning", "tf_keras", "librosa"}
FULL_INSTALL = {"pandas", "sklearn", "omegaconf", "tyro", "tqdm", "matplotlib", "mediapipe"}


def run(code: str, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def loaded_by(modules: str) -> set[str]:
    """Names of the packages that are in memory after an import and were not before it."""
    code = f"""
        import sys
        before = set(sys.modules)
        import {modules}
        lazy = {{name for name, module in sys.modules.items() if "_Lazy" in str(type(module))}}
        print(*set(sys.modules) - lazy - before)
    """
    return {name.partition(".")[0] for name in run(code).split()}


def test_package_alone_loads_nothing():
    assert loaded_by("ser_nsl") == {"ser_nsl"}


def test_device_side_loads_nothing_of_the_training_side():
    loaded = loaded_by(
        "ser_nsl.edge, ser_nsl.audio.clip, ser_nsl.pipeline.stage, ser_nsl.web.server"
    )

    assert "soundfile" in loaded
    assert not loaded & (HEAVY | FULL_INSTALL)


def test_corpora_and_command_line_load_nothing_heavy():
    loaded = loaded_by("ser_nsl.corpora.prepare, ser_nsl.pipeline.experiment, ser_nsl.cli")

    assert "pandas" in loaded
    assert not loaded & HEAVY


def test_packages_load_their_parts_when_these_are_used():
    packages = "corpora", "export", "graph", "training", "upstream"

    loaded = loaded_by(", ".join(f"ser_nsl.{package}" for package in packages))

    assert not loaded & (HEAVY | FULL_INSTALL)


def test_small_modules_load_no_others():
    assert not loaded_by("ser_nsl.graph.table, ser_nsl.corpora.manifest") & HEAVY


def test_librosa_is_no_lazy_module():
    # Where two threads of Python 3.11.7 are the first to use a lazy module, one finds it empty.
    code = "import sys, ser_nsl.audio.front_end, ser_nsl.embeddings.mfcc; print(*sys.modules)"
    assert "librosa" not in run(code).split()


IMPORTS = {
    # Touching `tf.keras` fixes which Keras it is.
    "tensorflow": "import tensorflow as tf; tf.keras.layers.Dense",
    "transformers": "from transformers import TFWav2Vec2ForSequenceClassification",
    "nsl": "import neural_structured_learning",
    "training": "import ser_nsl.training.train",
    "upstream": "import ser_nsl.upstream.embed",
}
ORDERS = [
    # The trap: transformers brings tf-keras when `tf.keras` is already TensorFlow's own.
    "tensorflow transformers nsl training upstream",
    "tensorflow nsl upstream training transformers",
    "transformers tensorflow training nsl upstream",
    "nsl transformers upstream tensorflow training",
    "training upstream nsl transformers tensorflow",
    "upstream training transformers nsl tensorflow",
]

SAVE_AND_LOAD = """
import sys
from pathlib import Path
import numpy as np
from ser_nsl.networks.saved import load_model, save_model

here, there, again = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
clips = np.load(here / "clips.npy")
model, description = load_model(here)
save_model(model, description, there)
model, again_description = load_model(there)
assert again_description == description
np.save(again, model(clips))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple[Path, np.ndarray]:
    """A model with its answer to some clips, made by this process in its own order of imports."""
    folder = tmp_path_factory.mktemp("saved")
    front_end = FrontEndConfig(mel_bins=8)
    description = Description(front_end, 2_048, ("a", "b", "c"), (-40.0,) * 8, (10.0,) * 8)
    logmel, x = logmel_input(description)
    model = classify(logmel, conv_norm_relu(x, 4, 3), description, "tiny")
    save_model(model, description, folder)
    clips = np.random.default_rng(0).normal(-40, 10, (5, *description.logmel_shape))
    np.save(folder / "clips.npy", clips.astype(np.float32))
    return folder, model(tf.constant(clips, tf.float32)).numpy()


@pytest.mark.parametrize(
    "order", [ORDERS[0], *(pytest.param(order, marks=pytest.mark.slow) for order in ORDERS[1:])]
)
def test_models_save_and_load_in_any_order_of_imports(order, saved, tmp_path):
    folder, expected = saved
    (tmp_path / "model").mkdir()
    imports = "\n".join(IMPORTS[name] for name in order.split(" "))

    run(imports + SAVE_AND_LOAD, folder, tmp_path / "model", tmp_path / "logits.npy")

    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, atol=1e-5)
    for name in ("model.h5", "description.json"):  # whichever Keras these imports have brought
        assert (tmp_path / "model" / name).read_bytes() == (folder / name).read_bytes(), name
