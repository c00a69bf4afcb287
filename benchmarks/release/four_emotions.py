"""Lists the clips of RAVDESS, EmoDB and EMOVO with one of four emotions, as one corpus.

    python -m benchmarks.release.four_emotions --corpora corpora --out runs/four_emotions/table.csv

The speakers of each corpus are divided for themselves, so that each is in every split.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ser_nsl.cli import run_function
from ser_nsl.corpora.manifest import read_manifest
from ser_nsl.corpora.prepare import prepare_corpus
from ser_nsl.corpora.settings import SplitConfig
from ser_nsl.pipeline.stage import stage

CORPORA = ("ravdess", "emodb", "emovo")
SPLITS = {"emovo": SplitConfig(seed=1)}
"""Where the released speakers are others than by default, which many equal divisions allow."""

EMOTIONS = ("anger", "happiness", "neutral", "sadness")


@stage(inputs=("corpora",), makes="file")
def list_four_emotions(*, corpora: Path, out: Path) -> Mapping[str, Any]:
    """Writes a table for `prepare-corpus --corpus csv`.

    Args:
        corpora: Folder with the corpora's folders, `ravdess`, `emodb` and `emovo`.
        out: Table (CSV): path below `corpora`, emotion, speaker, gender, split, utterance_id.

    Returns:
        Number of clips of each corpus.
    """
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        for name in CORPORA:
            manifest = Path(folder) / name / "manifest.csv"
            split = SPLITS.get(name, SplitConfig())
            prepare_corpus(corpus=name, audio_dir=corpora / name, out=manifest, split=split)
            table = read_manifest(manifest)
            for column, mark in (("path", "/"), ("speaker", "_"), ("utterance_id", "_")):
                table[column] = f"{name}{mark}" + table[column]
            tables.append(table[table["emotion"].isin(EMOTIONS)])
    columns = ["path", "emotion", "speaker", "gender", "split", "utterance_id"]
    pd.concat(tables)[columns].to_csv(out, index=False)
    return {name: len(table) for name, table in zip(CORPORA, tables, strict=True)}


if __name__ == "__main__":
    run_function(list_four_emotions)
