import json

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from ser_nsl.audio.clip import fit_length
from ser_nsl.audio.front_end import log_mel
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.edge import Recognizer
from ser_nsl.errors import InputError
from ser_nsl.export import export_tflite, forms, report_table
from ser_nsl.networks.saved import save_model


@pytest.fixture
def arguments(model, description, manifest, tmp_path):
    """Arguments of the stage: a model, and ten clips of which five test."""
    (tmp_path / "model").mkdir()
    save_model(model, description, tmp_path / "model")
    return {
        "model_dir": tmp_path / "model",
        "out": tmp_path / "recogniser.tflite",
        **manifest,
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


def test_report_of_all_forms(arguments, description):
    result = export_tflite(**arguments, quantization="int8", author="Ada")
    report = json.loads((arguments["out"].parent / "export_report.json").read_text())
    shown = report_table(arguments["out"].parent)

    assert [*report["forms"]] == ["float32", "float16", "dynamic", "int8"]
    assert (report["quantization"], report["forced"]) == ("int8", False)
    assert (report["split"], report["clips"], report["labelled"]) == ("test", 5, 5)
    assert report["output"]["labels"] == [*description.classes]
    assert report["input"]["shape"] == [1, description.clip_samples]
    chosen = report["forms"]["int8"]
    assert chosen["bytes"] == arguments["out"].stat().st_size == result.counts["bytes"]
    assert chosen["largest_difference"] > report["forms"]["float32"]["largest_difference"]
    assert {each["keras_uar"] for each in report["forms"].values()} == {chosen["keras_uar"]}
    assert shown.splitlines()[5].split()[0] == "int8"
    assert "Differences from Keras on 5 clips (test)" in shown


def test_int8_is_fitted_to_the_training_split(arguments, monkeypatch):
    seen = {}
    convert = forms.to_tflite

    def watched(model, description, form, logmels):
        seen[form] = logmels
        return convert(model, description, form, logmels)

    monkeypatch.setattr(forms, "to_tflite", watched)
    export_tflite(**arguments)

    waveforms = [
        fit_length(soundfile.read(arguments["audio_dir"] / f"{i}.wav", dtype="float32")[0], 8000)
        for i in range(0, 10, 2)
    ]
    expected = log_mel(np.stack(waveforms), FrontEndConfig(mel_bins=16))
    np.testing.assert_allclose(seen["int8"], expected, atol=1e-3)


def test_training_for_int8_changes_int8_only(arguments, monkeypatch):
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")  # as transformers does
    reports = []
    for epochs in (0, 1):
        export_tflite(**arguments, quantization="int8", tune_epochs=epochs, force=True)
        reports.append(json.loads((arguments["out"].parent / "export_report.json").read_text()))

    plain, tuned = (report["forms"] for report in reports)
    assert [report["tune_epochs"] for report in reports] == [0, 1]
    assert tuned["int8"] != plain["int8"]
    assert {"QUANTIZE", "DEQUANTIZE"} <= set(tuned["int8"]["operators"])
    assert all(tuned[form] == plain[form] for form in ("float32", "float16", "dynamic"))


def test_training_for_int8_wants_labels(arguments):
    manifest = arguments["manifest"]
    manifest.write_text(manifest.read_text().replace(",angry,", ",bored,"))  # no class of the model

    with pytest.raises(InputError, match="tune_epochs: needs training clips with a label"):
        export_tflite(**arguments, quantization="int8", tune_epochs=1)

    assert not arguments["out"].exists()


def test_network_that_cannot_be_trained_for_int8_is_refused(arguments, model, description):
    odd = tf.keras.layers.Lambda(lambda x: 2 * x)(model.output)
    save_model(tf.keras.Model(model.input, odd), description, arguments["model_dir"])

    with pytest.raises(InputError, match="tune_epochs: .* cannot be trained for int8"):
        export_tflite(**arguments, quantization="int8", tune_epochs=1)


class OwnNetwork(tf.keras.Model):
    """Subclassed, with weights of its own and statistics."""

    def __init__(self, classes: int):
        super().__init__(name="own")
        self.normalisation = tf.keras.layers.BatchNormalization()
        self.convolution = tf.keras.layers.Conv1D(4, 3, activation="relu")
        self.head = tf.keras.layers.Dense(classes)

    def call(self, inputs, training=False):
        x = self.convolution(self.normalisation(inputs["logmel"], training=training))
        return self.head(tf.reduce_max(x, axis=1))


@pytest.fixture
def own_network(arguments, description) -> OwnNetwork:
    """In the place of the model."""
    network = OwnNetwork(len(description.classes))
    random = np.random.default_rng(0)
    network({"logmel": random.normal(-40, 10, (8, *description.logmel_shape))}, training=True)
    save_model(network, description, arguments["model_dir"])
    return network


def test_subclassed_network_is_exported_in_all_forms(arguments, own_network):
    export_tflite(**arguments)

    report = json.loads((arguments["out"].parent / "export_report.json").read_text())
    assert report["forms"]["float32"]["broken_bounds"] == []
    assert {"QUANTIZE", "DEQUANTIZE"} <= set(report["forms"]["int8"]["operators"])


def test_subclassed_network_cannot_be_trained_for_int8(arguments, own_network):
    with pytest.raises(InputError, match="tune_epochs: .* holds a subclassed model"):
        export_tflite(**arguments, quantization="int8", tune_epochs=1)


def test_file_that_differs_from_keras_is_refused(arguments, other_model, description, monkeypatch):
    arguments["out"].write_text("former")
    convert = forms.to_tflite
    monkeypatch.setattr(forms, "to_tflite", lambda *_: convert(other_model, description))

    with pytest.raises(InputError, match="differs from Keras's by .*allowed is 0.0001.*force it"):
        export_tflite(**arguments)

    assert arguments["out"].read_text() == "former"
    assert [path.name for path in arguments["out"].parent.glob("*re*")] == ["recogniser.tflite"]


def test_file_that_differs_may_be_forced(arguments, other_model, description, monkeypatch):
    convert = forms.to_tflite
    monkeypatch.setattr(forms, "to_tflite", lambda *_: convert(other_model, description))

    export_tflite(**arguments, force=True)

    report = json.loads((arguments["out"].parent / "export_report.json").read_text())
    assert report["forced"]
    assert "Forced: float32 breaks a bound." in report_table(arguments["out"].parent)


def test_bounds_on_uar_are_not_kept_without_labels(arguments):
    export_tflite(**arguments)
    folder = arguments["out"].parent
    report = json.loads((folder / "export_report.json").read_text())
    for form in report["forms"].values():
        form.update(uar=None, keras_uar=None, broken_bounds=[])
    (folder / "export_report.json").write_text(json.dumps(report))

    shown = {line.split()[0]: line for line in report_table(folder).splitlines()[2:6]}

    assert shown["float32"].endswith("kept")
    assert shown["int8"].endswith("not tested, for want of labels")


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
        ({"tune_epochs": -1}, "tune_epochs: must be 0 or more; received -1"),
    ],
)
def test_bad_arguments_are_refused(arguments, changed, message):
    with pytest.raises(InputError, match=message):
        export_tflite(**arguments | changed)
