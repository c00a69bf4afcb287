"""The description of features, read from any file system."""

import tempfile
from pathlib import Path

from apache_beam.io.filesystems import FileSystems

from ser_nsl.audio.features import Description
from ser_nsl.errors import InputError

_NAME = "description.json"


def read_description(features: str) -> tuple[Description, bytes]:
    """Reads the description of a folder of features.

    Args:
        features: On any file system.

    Returns:
        The description, and the file as it is.

    Raises:
        InputError: If it is missing or of another form.
    """
    path = FileSystems.join(features, _NAME)
    if not FileSystems.exists(path):
        raise InputError(
            f"{features}: {_NAME} is missing, the folder is incomplete; make it again with "
            "tools/extract_features.py or tools/beam_graph.py."
        )
    with FileSystems.open(path) as opened, tempfile.TemporaryDirectory() as folder:
        text = opened.read()
        (Path(folder) / _NAME).write_bytes(text)
        return Description.load(Path(folder)), text


def write_description(text: bytes, folder: str) -> None:
    """Writes the description beside records.

    Args:
        text: The file as it is.
        folder: Existing folder on any file system.
    """
    with FileSystems.create(FileSystems.join(folder, _NAME)) as opened:
        opened.write(text)
