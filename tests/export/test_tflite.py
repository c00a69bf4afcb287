import json
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from ser_nsl.audio.clip import fit_length
from ser_nsl.audio.front_end import log_mel
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.edge import NO_SPEECH, Recognizer
from ser_nsl.errors import InputError
from ser_nsl.export import export_tflite, forms
from ser_nsl.export.answers import Answers
from ser_nsl.networks.saved import save_model


@pytest.fixture
def arguments(model, description, corpus, tmp_path) -> dict:
    """Arguments of the stage: a model, and ten clips, five of them for testing."""
    (tmp_path / "model").mkdir()
    save_model(model, description, tmp_path / "model")
    return {
        "model_dir": tmp_path / "model",
        "manifest": corpus / "manifest.csv",
        "audio_dir": corpus,
        "out": tmp_path / "recogniser.tflite",
    }


@pytest.fixture
def convert_to(monkeypatch) -> Callable[[bytes], list]:
    """Returns a function that puts a fixed result in the place of the slow conversions."""

    def put(flatbuffer: bytes) -> list:
        calls = []
        monkeypatch.setattr(forms, "fit_answers", lambda *clips: Answers())
        monkeypatch.setattr(forms, "to_tflite", lambda *call: calls.append(call) or flatbuffer)
        return calls

    return put


def report_of(arguments: dict) -> dict:
    return json.loads((arguments["out"].parent / "export_report.json").read_text())


def test_file_report_and_printed_table(arguments, description):
    result = export_tflite(**arguments, quantization="int8", author="Ada")

    record = json.loads(arguments["out"].with_name("recogniser.tflite.stage.json").read_text())
    recognizer = Recognizer(arguments["out"])
    assert recognizer.labels == (*description.classes, NO_SPEECH)
    assert recognizer.clip_samples == description.clip_samples
    assert record["counts"] == result.counts
    assert (result.counts["form"], result.counts["clips"]) == ("int8", 2)
    assert result.counts["bytes"] == arguments["out"].stat().st_size

    report = report_of(arguments)
    assert [*report["forms"]] == ["float32", "float16", "dynamic", "int8"]
    assert (report["quantization"], report["forced"]) == ("int8", False)
    assert (report["split"], report["clips"], report["labelled"]) == ("val", 2, 2)
    assert report["output"]["labels"] == [*recognizer.labels]
    assert report["input"]["shape"] == [1, description.clip_samples]
    exact, chosen = report["forms"]["float32"], report["forms"]["int8"]
    assert exact["largest_difference"] < 1e-5 < chosen["largest_difference"]
    assert exact["label_agreement"] == 1
    assert exact["keras_uar"] == chosen["keras_uar"]
    assert {"QUANTIZE", "DEQUANTIZE"} <= set(chosen["operators"])

    first_words = [line.split()[0] for line in str(result).splitlines() if line]
    assert first_words[2:6] == [*report["forms"]]
    assert str(result).endswith(f"-> {arguments['out']}")


def test_int8_is_calibrated_on_the_training_split(arguments, corpus, convert_to, flatbuffer):
    calls = convert_to(flatbuffer)
    export_tflite(**arguments)

    waveforms = [
        fit_length(soundfile.read(corpus / f"{i}.wav", dtype="float32")[0], 8000)
        for i in range(0, 10, 2)
    ]
    expected = log_mel(np.stack(waveforms), FrontEndConfig(mel_bins=16))
    (calibration,) = (call[3] for call in calls if call[2] == "int8")
    np.testing.assert_allclose(calibration, expected, atol=1e-3)


class OwnNetwork(tf.keras.Model):
    """Subclassed, with weights and statistics of its own."""

    def __init__(self, classes: int):
        super().__init__(name="own")
        self.normalisation = tf.keras.layers.BatchNormalization()
        self.convolution = tf.keras.layers.Conv1D(4, 3, activation="relu")
        self.head = tf.keras.layers.Dense(classes)

    def call(self, inputs, training=False):
        x = self.convolution(self.normalisation(inputs["logmel"], training=training))
        return self.head(tf.reduce_max(x, axis=1))


@pytest.mark.slow
def test_subclassed_network(arguments, description):
    network = OwnNetwork(len(description.classes))
    random = np.random.default_rng(0)
    network({"logmel": random.normal(-40, 10, (8, *description.logmel_shape))}, training=True)
    save_model(network, description, arguments["model_dir"])

    export_tflite(**arguments)

    report = report_of(arguments)
    assert report["forms"]["float32"]["broken_bounds"] == []
    assert {"QUANTIZE", "DEQUANTIZE"} <= set(report["forms"]["int8"]["operators"])


def test_file_that_differs_from_keras_is_refused(arguments, convert_to, other_flatbuffer):
    arguments["out"].write_text("former")
    record = arguments["out"].with_name("recogniser.tflite.stage.json")
    record.write_text('{"stage": "export_tflite"}')
    convert_to(other_flatbuffer)

    with pytest.raises(InputError, match=r"as float32, .* allowed is 0\.0001.*--force"):
        export_tflite(**arguments)

    assert arguments["out"].read_text() == "former"
    assert [path.name for path in arguments["out"].parent.glob("*re*.tflite")] == [
        "recogniser.tflite"
    ]


def test_file_that_differs_can_be_forced(arguments, convert_to, other_flatbuffer):
    convert_to(other_flatbuffer)

    result = export_tflite(**arguments, force=True)

    assert report_of(arguments)["forced"]
    assert "Forced: float32" in str(result)


def test_bounds_on_uar_are_not_tested_without_labels(arguments, convert_to, flatbuffer, tmp_path):
    convert_to(flatbuffer)
    text = arguments["manifest"].read_text().replace(",angry,val,", ",,val,")
    arguments["manifest"] = tmp_path / "unknown.csv"
    arguments["manifest"].write_text(text)

    result = export_tflite(**arguments)

    lines = {line.split()[0]: line for line in result.table.splitlines()[2:6]}
    assert "kept" in lines["float32"]
    assert "not tested" in lines["int8"]
    assert report_of(arguments)["labelled"] == 0
    assert "uar" not in result.counts


def test_manifest_of_another_corpus_is_refused(arguments, tmp_path):
    text = arguments["manifest"].read_text().replace(",angry,", ",bored,")  # not a class
    arguments["manifest"] = tmp_path / "other.csv"
    arguments["manifest"].write_text(text)
    with pytest.raises(InputError, match="manifest: no training clip .* angry, happy, sad; give"):
        export_tflite(**arguments)


def test_model_that_needs_the_upstream_is_refused(arguments, model, description):
    embedding = tf.keras.Input((3,), name="embedding")
    logits = tf.keras.layers.Add()([model.output, embedding])
    network = tf.keras.Model([model.input, embedding], logits)
    save_model(network, description, arguments["model_dir"])

    with pytest.raises(InputError, match="logmel, embedding"):
        export_tflite(**arguments)


def test_no_test_clip_decides_about_a_form(arguments, convert_to, other_flatbuffer, tmp_path):
    convert_to(other_flatbuffer)
    text = arguments["manifest"].read_text()
    arguments["manifest"] = tmp_path / "manifest.csv"
    refusals = []
    for other in ("lost.wav", "9.wav"):  # the path of a test clip, which is not even opened
        arguments["manifest"].write_text(text.replace("5.wav", other))
        with pytest.raises(InputError) as error:
            export_tflite(**arguments)
        refusals.append(str(error.value))

    assert refusals[0] == refusals[1]
    arguments["manifest"].write_text(text.replace(",val,", ",train,"))
    export_tflite(**arguments, force=True)
    assert report_of(arguments)["split"] == "train"
