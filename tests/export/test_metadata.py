import hashlib
import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata_schema
from mediapipe.tasks.metadata import schema_py_generated as schema

import ser_nsl
from ser_nsl.edge import Recognizer
from ser_nsl.errors import InputError
from ser_nsl.export.metadata import add_metadata


def read_metadata(content: bytes) -> metadata_schema.ModelMetadata:
    model = schema.Model.GetRootAs(content)
    buffers = {
        model.Metadata(i).Name(): model.Buffers(model.Metadata(i).Buffer())
        for i in range(model.MetadataLength())
    }
    packed = buffers[b"TFLITE_METADATA"].DataAsNumpy().tobytes()
    assert metadata_schema.ModelMetadata.ModelMetadataBufferHasIdentifier(packed, 0)
    return metadata_schema.ModelMetadata.GetRootAs(packed)


def test_metadata_describe_input_and_output(recogniser):
    content = recogniser.read_bytes()
    metadata = read_metadata(content)
    waveform = metadata.SubgraphMetadata(0).InputTensorMetadata(0)
    audio_properties = metadata_schema.AudioProperties()
    audio_properties.Init(
        waveform.Content().ContentProperties().Bytes, waveform.Content().ContentProperties().Pos
    )
    probabilities = metadata.SubgraphMetadata(0).OutputTensorMetadata(0)
    labels = probabilities.AssociatedFiles(0)

    assert schema.Model.ModelBufferHasIdentifier(content, 0)
    assert (metadata.Name(), metadata.Version()) == (b"Tiny", b"7")
    assert metadata.Description().startswith(b"Recognises the emotion in 0.5 s of speech: angry, ")
    assert ser_nsl.__version__.encode() in metadata.Description()
    assert (metadata.Author(), metadata.License()) == (b"Ada", b"Mind the corpus.")
    assert metadata.MinParserVersion() == b"1.3.0"
    assert waveform.Name() == b"waveform"
    assert (
        waveform.Content().ContentPropertiesType()
        == metadata_schema.ContentProperties.AudioProperties
    )
    assert (audio_properties.SampleRate(), audio_properties.Channels()) == (16_000, 1)
    assert probabilities.Name() == b"probabilities"
    assert (probabilities.Stats().Min(0), probabilities.Stats().Max(0)) == (0, 1)
    assert labels.Name() == b"labels.txt"
    assert labels.Type() == metadata_schema.AssociatedFileType.TENSOR_AXIS_LABELS
    with zipfile.ZipFile(recogniser) as archive:
        assert archive.read("labels.txt") == b"angry\nhappy\nsad\n"


def test_settings_and_bytes_are_the_same_every_time(flatbuffer, card):
    card = replace(card, temperature=2.5, typical=(-1.0, -1.5, -0.5))
    content = add_metadata(flatbuffer, card)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        dates = {entry.date_time for entry in archive.infolist()}
        settings = json.loads(archive.read("recogniser.json"))

    assert add_metadata(flatbuffer, card) == content
    assert dates == {(1980, 1, 1, 0, 0, 0)}
    assert settings == {
        "format_version": 1,
        "name": "Tiny",
        "version": "7",
        "ser_nsl": ser_nsl.__version__,
        "sample_rate_hz": 16_000,
        "clip_samples": 8000,
        "temperature": 2.5,
        "abstain_below": 0.5,
        "model_sha256": hashlib.sha256(content[: content.index(b"PK\3\4")]).hexdigest(),
        "typical": [-1.0, -1.5, -0.5],
    }


def test_damage_of_the_model_is_told_before_it_runs(recogniser, tmp_path):
    """A changed weight changes answers, and a changed table of the model ends some runtimes."""
    content = recogniser.read_bytes()
    bad = tmp_path / "bad.tflite"
    for place in np.random.default_rng(0).integers(8, content.index(b"PK\3\4"), 60).tolist():
        bad.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        with pytest.raises(InputError, match=r"bad\.tflite: "):
            Recognizer(bad)


@pytest.mark.parametrize("label", ["", "two\nlines"])
def test_labels_that_are_not_one_line_are_refused(flatbuffer, card, label):
    with pytest.raises(InputError, match="labels"):
        add_metadata(flatbuffer, replace(card, labels=("angry", "happy", label)))
