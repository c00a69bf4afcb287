"""Metadata of a `.tflite` file: those of TFLite, and settings for `ser_nsl.edge`.

MediaPipe's metadata writers support no audio input, write the time into the file, and cannot be
imported from mediapipe 1.2.2 (a compiled module is missing), so this fills its schema's tables
directly.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mediapipe.tasks.metadata import metadata_schema_py_generated as tables
from mediapipe.tasks.metadata import schema_py_generated as schema

import ser_nsl
from ser_nsl.edge import FORMAT_VERSION, LABELS_NAME, NO_SPEECH, SETTINGS_NAME
from ser_nsl.errors import InputError
from ser_nsl.export.answers import ABSTAIN_BELOW
from ser_nsl.export.chain import pack

_FIELD = "TFLITE_METADATA"
_MIN_PARSER_VERSION = "1.3.0"  # the schema's first with audio properties


@dataclass(frozen=True)
class Card:
    """What app developers must know about a recogniser.

    Attributes:
        name: Name of the recogniser.
        version: Version of the recogniser.
        labels: Emotions in the order of the outputs, and where it is told, `no speech`.
        sample_rate_hz: Sample rate of the input.
        clip_samples: Length of the input.
        author: Author of the recogniser; empty if unknown.
        licence: Terms of use; empty if there are none.
        temperature: What logits were divided by.
        typical: Mean natural logarithm of each emotion's probability over many speakers; None if
            unknown.
    """

    name: str
    version: str
    labels: Sequence[str]
    sample_rate_hz: int
    clip_samples: int
    author: str = ""
    licence: str = ""
    temperature: float = 1.0
    typical: Sequence[float] | None = None

    @property
    def description(self) -> str:
        """Two sentences on the recogniser."""
        emotions = [label for label in self.labels if label != NO_SPEECH]
        return (
            f"Recognises the emotion in {self.clip_samples / self.sample_rate_hz:g} s of speech: "
            f"{', '.join(emotions)}. Made with ser_nsl {ser_nsl.__version__}."
        )


def add_metadata(tflite: bytes, card: Card) -> bytes:
    """Adds metadata for MediaPipe and other TFLite tools, and settings for `ser_nsl.edge`.

    The metadata become part of the flatbuffer. Labels and settings are appended as a zip
    archive; the metadata name the file with the labels.

    Args:
        tflite: Flatbuffer with one input, the waveform, and one output, the probabilities.
        card: Description of the recogniser.

    Returns:
        The complete file. The same arguments give the same bytes.

    Raises:
        InputError: If a label is empty or has several lines.
    """
    bad = [label for label in card.labels if label.splitlines() != [label]]
    if bad:
        raise InputError(f"labels: each must be one line that is not empty; received {bad}.")
    model = schema.ModelT.InitFromPackedBuf(tflite)
    packed = pack(_model_metadata(card), b"M001")
    model.buffers.append(schema.BufferT(data=np.frombuffer(packed, np.uint8)))
    model.metadata.append(schema.MetadataT(name=_FIELD, buffer=len(model.buffers) - 1))
    complete = pack(model, b"TFL3")
    settings = {
        "format_version": FORMAT_VERSION,
        "name": card.name,
        "version": card.version,
        "ser_nsl": ser_nsl.__version__,
        "sample_rate_hz": card.sample_rate_hz,
        "clip_samples": card.clip_samples,
        "temperature": card.temperature,
        "abstain_below": ABSTAIN_BELOW,
        "model_sha256": hashlib.sha256(complete).hexdigest(),
    }
    if card.typical is not None:
        settings["typical"] = [*card.typical]
    file = io.BytesIO(complete)
    with zipfile.ZipFile(file, "a") as archive:
        # An explicit ZipInfo has a fixed date instead of the current time.
        archive.writestr(zipfile.ZipInfo(LABELS_NAME), "\n".join(card.labels) + "\n")
        archive.writestr(zipfile.ZipInfo(SETTINGS_NAME), json.dumps(settings, indent=1) + "\n")
    return file.getvalue()


def _model_metadata(card: Card) -> tables.ModelMetadataT:
    waveform = _tensor_metadata(
        "waveform",
        "Mono speech.",
        tables.ContentProperties.AudioProperties,
        tables.AudioPropertiesT(sampleRate=card.sample_rate_hz, channels=1),
        least=-1.0,
    )
    probabilities = _tensor_metadata(
        "probabilities",
        "Probability of each label.",
        tables.ContentProperties.FeatureProperties,
        tables.FeaturePropertiesT(),
        least=0.0,
    )
    labels = tables.AssociatedFileT(
        name=LABELS_NAME,
        description="The labels, one per line.",
        type=tables.AssociatedFileType.TENSOR_AXIS_LABELS,
    )
    probabilities.associatedFiles = [labels]
    subgraph = tables.SubGraphMetadataT(
        inputTensorMetadata=[waveform], outputTensorMetadata=[probabilities]
    )
    return tables.ModelMetadataT(
        name=card.name,
        description=card.description,
        version=card.version,
        author=card.author or None,
        license=card.licence or None,
        subgraphMetadata=[subgraph],
        minParserVersion=_MIN_PARSER_VERSION,
    )


def _tensor_metadata(
    name: str, description: str, kind: int, properties: object, *, least: float
) -> tables.TensorMetadataT:
    """Metadata of a tensor with values from `least` to 1."""
    content = tables.ContentT(contentPropertiesType=kind, contentProperties=properties)
    stats = tables.StatsT(min=[least], max=[1.0])
    return tables.TensorMetadataT(name=name, description=description, content=content, stats=stats)
