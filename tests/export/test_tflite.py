import json

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from ser_nsl.downstream.saved import save_model
from ser_nsl.edge import Recognizer
from ser_nsl.errors import InputError
from ser_nsl.export import export_tflite, tflite


@pytest.fixture
def arguments(model, description, tmp_path):
    """Arguments of the stage: a model, and ten clips of which five test."""
    (tmp_path / "model").mkdir()
    save_model(model, description, tmp_path / "model")
    random = np.random.default_rng(0)
    lines = ["utterance_id,path,speaker,gender,emotion,split,duration_seconds,corpus"]
    for i in range(10):
        soundfile.write(tmp_path / f"{i}.wav", random.normal(0, 0.1, 4000 + 1000 * i), 16_000)
        split = ("train", "test")[i % 2]
        lines.append(f"clip{i},{i}.wav,{split},female,angry,{split},0.5,tiny")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return {
        "model_dir": tmp_path / "model",
        "manifest": tmp_path / "manifest.csv",
        "audio_dir": tmp_path,
        "out": tmp_path / "recogniser.tflite",
    }


def test_export(arguments, description, recogniser):
    result = export_tflite(**arguments)
    record = json.loads(arguments["out"].with_name("recogniser.tflite.stage.json").read_text())
    recognizer = Recognizer(arguments["out"])

    assert result.counts["clips"] == 5
    assert result.counts["bytes"] == arguments["out"].stat().st_size
    assert "BATCH_MATMUL" in result.counts["operators"]
    assert result.counts["largest_difference"] < 1e-5
    assert result.counts["label_agreement"] == 1
    assert record["counts"] == result.counts
    assert recognizer.labels == description.classes
    assert recognizer.clip_samples == description.clip_samples


def test_clips_are_spread_over_the_split(arguments):
    def names(max_clips):
        paths = tflite._choose_clips(
            arguments["manifest"], arguments["audio_dir"], "test", max_clips
        )
        return [path.name for path in paths]

    assert names(64) == ["1.wav", "3.wav", "5.wav", "7.wav", "9.wav"]
    assert names(3) == ["1.wav", "5.wav", "9.wav"]
    assert names(1) == ["1.wav"]


def test_file_that_differs_from_keras_is_refused(arguments, other_model, description, monkeypatch):
    arguments["out"].write_text("former")
    convert = tflite.to_tflite
    monkeypatch.setattr(tflite, "to_tflite", lambda *_: convert(other_model, description))

    with pytest.raises(InputError, match="differs from Keras's by .*allowed is 0.0001"):
        export_tflite(**arguments)

    assert arguments["out"].read_text() == "former"
    assert [path.name for path in arguments["out"].parent.glob("*recogniser*")] == [
        "recogniser.tflite"
    ]


def test_model_that_gives_nan_is_refused(arguments, model, description):
    broken = tf.keras.Model(model.input, tf.keras.layers.Rescaling(np.nan)(model.output))
    save_model(broken, description, arguments["model_dir"])

    with pytest.raises(InputError, match="differs from Keras's by nan"):
        export_tflite(**arguments)

    assert not arguments["out"].exists()


def test_model_that_needs_the_upstream_is_refused(arguments, model, description):
    embedding = tf.keras.Input((3,), name="embedding")
    logits = tf.keras.layers.Add()([model.output, embedding])
    save_model(
        tf.keras.Model([model.input, embedding], logits), description, arguments["model_dir"]
    )

    with pytest.raises(InputError, match="add, max and avg .*logmel, embedding"):
        export_tflite(**arguments)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"split": "val"}, "the split val has no clip"),
        ({"max_clips": 0}, "max_clips: must be at least 1; received 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, changed, message):
    with pytest.raises(InputError, match=message):
        export_tflite(**arguments | changed)
