"""What a manifest says about the clips of a folder of embeddings."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ser_nsl.corpora.manifest import read_manifest
from ser_nsl.errors import refuse


def column_of_clips(column: str, manifest: Path, ids: Iterable[str], embeddings: Path) -> pd.Series:
    """Reads a column of the manifest for the clips of a folder of embeddings.

    Args:
        column: Name of the column, e.g. `speaker`.
        manifest: The manifest.
        ids: Ids of the clips.
        embeddings: Their folder, for the error.

    Returns:
        Text, by id, in the order of `ids`.

    Raises:
        InputError: If the manifest lacks a clip.
    """
    values = read_manifest(manifest).set_index("utterance_id")[column]
    ids = list(ids)
    unknown = [utterance_id for utterance_id in ids if utterance_id not in values.index]
    rule = f"manifest: {manifest} lacks clips of {embeddings}"
    refuse(unknown, rule, "Give the manifest that they were made from.")
    return values[ids]
