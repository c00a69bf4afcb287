"""What a `.tflite` file says of itself: TFLite metadata, and settings for `ser_nsl.edge`.

MediaPipe's metadata writers know no audio input, stamp the time into the file, and cannot be
imported from mediapipe 1.2.2 (a compiled module is missing), so the tables of its schema are
filled here.
"""

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import flatbuffers
import numpy as np
from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata_schema
from mediapipe.tasks.metadata import schema_py_generated as schema

import ser_nsl
from ser_nsl.edge import FORMAT_VERSION, LABELS_NAME, SETTINGS_NAME
from ser_nsl.errors import InputError

_FIELD = "TFLITE_METADATA"
_MIN_PARSER_VERSION = "1.3.0"  # the schema's first with audio properties


@dataclass(frozen=True)
class Card:
    """What app developers must know of a recogniser.

    Attributes:
        name: The recogniser's name.
        version: The recogniser's version.
        labels: Emotions in the order of the outputs.
        sample_rate_hz: Sample rate of the input.
        clip_samples: Length of the input.
        author: Who made it; empty for nobody.
        licence: What apps must heed; empty for nothing.
    """

    name: str
    version: str
    labels: Sequence[str]
    sample_rate_hz: int
    clip_samples: int
    author: str = ""
    licence: str = ""

    @property
    def description(self) -> str:
        """The recogniser in two sentences."""
        return (
            f"Tells the emotion of {self.clip_samples / self.sample_rate_hz:g} s of speech: "
            f"{', '.join(self.labels)}. Made with ser_nsl {ser_nsl.__version__}."
        )


def add_metadata(tflite: bytes, card: Card) -> bytes:
    """Adds metadata for MediaPipe and other TFLite tools, and settings for `ser_nsl.edge`.

    The metadata become part of the flatbuffer. Labels and settings are appended as a zip
    archive, where the metadata announce the labels.

    Args:
        tflite: Flatbuffer with one input, the waveform, and one output, the probabilities.
        card: What it is.

    Returns:
        The complete file; same arguments, same bytes.

    Raises:
        InputError: If a label is empty or has several lines.
    """
    bad = [label for label in card.labels if label.splitlines() != [label]]
    if bad:
        raise InputError(f"labels: each must be one line that is not empty; received {bad}.")
    model = schema.ModelT.InitFromPackedBuf(tflite)
    packed = _pack(_model_metadata(card), b"M001")
    model.buffers.append(schema.BufferT(data=np.frombuffer(packed, np.uint8)))
    model.metadata.append(schema.MetadataT(name=_FIELD, buffer=len(model.buffers) - 1))
    file = io.BytesIO(_pack(model, b"TFL3"))
    settings = {
        "format_version": FORMAT_VERSION,
        "name": card.name,
        "version": card.version,
        "ser_nsl": ser_nsl.__version__,
        "sample_rate_hz": card.sample_rate_hz,
        "clip_samples": card.clip_samples,
    }
    with zipfile.ZipFile(file, "a") as archive:
        # A ZipInfo of one's own has a fixed date in place of the time of day.
        archive.writestr(zipfile.ZipInfo(LABELS_NAME), "\n".join(card.labels) + "\n")
        archive.writestr(zipfile.ZipInfo(SETTINGS_NAME), json.dumps(settings, indent=1) + "\n")
    return file.getvalue()


def _pack(table: schema.ModelT | metadata_schema.ModelMetadataT, identifier: bytes) -> bytes:
    builder = flatbuffers.Builder()
    builder.Finish(table.Pack(builder), identifier)
    return bytes(builder.Output())


def _model_metadata(card: Card) -> metadata_schema.ModelMetadataT:
    subgraph = metadata_schema.SubGraphMetadataT(
        inputTensorMetadata=[_waveform_metadata(card)],
        outputTensorMetadata=[_probabilities_metadata()],
    )
    return metadata_schema.ModelMetadataT(
        name=card.name,
        description=card.description,
        version=card.version,
        author=card.author or None,
        license=card.licence or None,
        subgraphMetadata=[subgraph],
        minParserVersion=_MIN_PARSER_VERSION,
    )


def _waveform_metadata(card: Card) -> metadata_schema.TensorMetadataT:
    content = metadata_schema.ContentT(
        contentPropertiesType=metadata_schema.ContentProperties.AudioProperties,
        contentProperties=metadata_schema.AudioPropertiesT(
            sampleRate=card.sample_rate_hz, channels=1
        ),
    )
    return metadata_schema.TensorMetadataT(
        name="waveform",
        description="Mono speech.",
        content=content,
        stats=metadata_schema.StatsT(min=[-1.0], max=[1.0]),
    )


def _probabilities_metadata() -> metadata_schema.TensorMetadataT:
    content = metadata_schema.ContentT(
        contentPropertiesType=metadata_schema.ContentProperties.FeatureProperties,
        contentProperties=metadata_schema.FeaturePropertiesT(),
    )
    labels = metadata_schema.AssociatedFileT(
        name=LABELS_NAME,
        description="The emotions, one a line.",
        type=metadata_schema.AssociatedFileType.TENSOR_AXIS_LABELS,
    )
    return metadata_schema.TensorMetadataT(
        name="probabilities",
        description="Probability of each emotion.",
        content=content,
        stats=metadata_schema.StatsT(min=[0.0], max=[1.0]),
        associatedFiles=[labels],
    )
