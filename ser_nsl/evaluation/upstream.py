"""The stage that measures an upstream: its UAR on its source, and its neighbours on other corpora.

The labels of a target serve for measuring only: nothing is trained or chosen here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, read_audio
from ser_nsl.corpora.manifest import audio_paths, read_manifest
from ser_nsl.errors import InputError, refuse
from ser_nsl.evaluation.scores import score
from ser_nsl.pipeline.bars import Bar
from ser_nsl.pipeline.stage import stage

if TYPE_CHECKING:
    from ser_nsl.upstream.checkpoint import Upstream
    from ser_nsl.upstream.embedder import Embedder
    from ser_nsl.upstream.head import Head

NEIGHBORS = (3, 6, 9)

_SHARES = ("other_speakers", "other_speakers_centered", "all_speakers")


@stage(inputs=("upstream", "source", "targets"), makes="file")
def measure_upstream(
    *,
    upstream: str,
    source: Path,
    out: Path,
    targets: tuple[Path, ...] = (),
    clip_seconds: float = 4.0,
    seed: int = 0,
) -> Mapping[str, Any]:
    """Measures a fine-tuned upstream on its source's test split, and the neighbours it finds.

    On each target, this is the share of a clip's 3, 6 and 9 nearest neighbours (by cosine of the
    embeddings) that have the clip's emotion: among clips of other speakers, the same after each
    speaker's mean was subtracted, and among all clips. Beside it stand the shares by chance, for
    MFCCs, and for the untrained network.

    Args:
        upstream: Folder or hub name of a checkpoint with an emotion head.
        source: Manifest of the corpus that the head knows; its test split is scored.
        out: Result file (JSON).
        targets: Manifests of other corpora, of which all clips are compared.
        clip_seconds: Length to which every clip is cut or repeated for the upstream, in seconds;
            MFCCs are taken from whole clips.
        seed: Seed of the untrained network's weights.

    Returns:
        UAR, accuracy and number of clips of the source's test split, and for each target the share
        among 6 neighbours by other speakers, beside MFCCs and chance.

    Raises:
        InputError: If the checkpoint or a clip cannot be used, the source has no test clip or one
            whose emotion the checkpoint does not know, or a target's clips lack an emotion or
            speaker or are too few.

    Example:
        >>> shipped = "models/wav2vec2-mini-ravdess"
        >>> made = measure_upstream(upstream=shipped, source=Path("manifest.csv"),
        ...     out=Path("measures.json"))  # doctest: +SKIP
        >>> made.counts["uar"]  # doctest: +SKIP
        '33.3%'
    """
    from ser_nsl.upstream.checkpoint import load_upstream
    from ser_nsl.upstream.embedder import Embedder

    samples = round(clip_seconds * SAMPLE_RATE_HZ)
    tables = _read_targets(targets)
    loaded = load_upstream(upstream)
    head = loaded.require_head()
    tests = _read_tests(source, head.classes)
    trained = Embedder(loaded, samples)
    untrained = Embedder(_untrained(loaded, seed), samples)
    result: dict[str, Any] = {
        "upstream": loaded.fingerprint(with_head=True),
        "clip_seconds": clip_seconds,
        "source": _score(tests, trained, head),
        "targets": {
            name: _compare(clips, {"upstream": trained, "untrained": untrained}, name)
            for name, clips in tables.items()
        },
    }
    out.write_text(json.dumps(result, indent=1) + "\n")
    return {
        "uar": f"{result['source']['uar']:.1%}",
        "accuracy": f"{result['source']['accuracy']:.1%}",
        "clips": result["source"]["clips"],
        **{name: _sum_up(measured) for name, measured in result["targets"].items()},
    }


def read_measures(path: Path) -> dict[str, Any]:
    """Reads the result file of `measure_upstream`.

    Args:
        path: Result file (JSON).

    Returns:
        `upstream` (the checkpoint's hash), `clip_seconds`, `source` (corpus, speakers, and the
        scores as `score` returns them), and `targets`: by corpus `clips`, `speakers`, `emotions`,
        and for `other_speakers`, `other_speakers_centered` and `all_speakers` the shares:
        `chance`, and `mfcc`, `untrained`, `upstream` by number of neighbours. All shares are in
        [0, 1].

    Raises:
        InputError: If the file is missing or has another form.
    """
    try:
        values = json.loads(Path(path).read_text())
        _ = values["upstream"], values["source"]["uar"]
        _ = [target[kind]["mfcc"] for target in values["targets"].values() for kind in _SHARES]
        return values
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: is not a result file of `ser-nsl measure-upstream` "
            f"({type(error).__name__}: {error})."
        ) from error


def _read_targets(manifests: Sequence[Path]) -> dict[str, pd.DataFrame]:
    """Reads the clips to compare, by corpus."""
    tables: dict[str, pd.DataFrame] = {}
    for manifest in manifests:
        table = read_manifest(manifest)
        for column in ("emotion", "speaker"):
            lacking = table.loc[table[column] == "", "utterance_id"]
            rule = f"{manifest}: clips have no {column}"
            refuse(lacking, rule, "Targets need emotion and speaker of every clip.")
        name = table["corpus"].iloc[0]
        if name in tables:
            raise InputError(
                f"targets: {manifest} is the second manifest of {name}; give one per corpus."
            )
        tables[name] = table.assign(audio=audio_paths(table, manifest, None))
    return tables


def _read_tests(manifest: Path, classes: tuple[str, ...]) -> pd.DataFrame:
    table = read_manifest(manifest)
    table = table[(table["split"] == "test") & (table["emotion"] != "")]
    if table.empty:
        raise InputError(f"source: {manifest} has no labelled clip in the test split.")
    foreign = sorted(set(table["emotion"]) - set(classes))
    if foreign:
        raise InputError(
            f"source: {manifest} has {', '.join(foreign)}, which the upstream does not know; it "
            f"knows {', '.join(classes)}. Give the corpus that it was fine-tuned on."
        )
    return table.assign(audio=audio_paths(table, manifest, None))


def _untrained(upstream: Upstream, seed: int) -> Upstream:
    """Returns the same network with random weights, and with a random FC1."""
    from transformers.modeling_tf_utils import keras

    from ser_nsl.upstream.checkpoint import Upstream, new_encoder

    keras.utils.set_random_seed(seed)
    encoder = new_encoder(upstream.encoder.body.config, upstream.encoder.extractor)
    head = upstream.require_head()
    kernel = keras.initializers.GlorotUniform()(head.arrays["fc1.kernel"].shape).numpy()
    untrained = {name: np.zeros_like(array) for name, array in head.arrays.items()}
    untrained |= {"fc1.kernel": kernel, "scale": np.ones_like(head.arrays["scale"])}
    return Upstream(f"untrained {upstream.name}", encoder, replace(head, arrays=untrained))


def _score(clips: pd.DataFrame, embedder: Embedder, head: Head) -> dict[str, Any]:
    logits = head.logits(embedder.embed_files(list(clips["audio"]), "source"))
    labels = clips["emotion"].map(head.classes.index).to_numpy()
    about = {"corpus": clips["corpus"].iloc[0], "speakers": sorted(set(clips["speaker"]))}
    return about | score(labels, logits.argmax(axis=1), head.classes)


def _compare(clips: pd.DataFrame, embedders: Mapping[str, Embedder], name: str) -> dict[str, Any]:
    """Returns the shares of neighbours with the same emotion, for each kind of embeddings."""
    from ser_nsl.embeddings.center import without_speaker_means
    from ser_nsl.embeddings.mfcc import mfcc_embeddings
    from ser_nsl.graph.quality import chance_agreement, neighbor_agreement

    waveforms = map(read_audio, Bar(clips["audio"], desc=f"{name}, mfcc", unit="clip"))
    spaces = {"mfcc": mfcc_embeddings(waveforms)}
    for kind, embedder in embedders.items():
        spaces[kind] = embedder.embed_files(list(clips["audio"]), f"{name}, {kind}")
    emotions, speakers = clips["emotion"], clips["speaker"]
    centered = {kind: without_speaker_means(space, speakers) for kind, space in spaces.items()}
    measured: dict[str, Any] = {
        "clips": len(clips),
        "speakers": len(set(speakers)),
        "emotions": len(set(emotions)),
    }
    for comparison, compared in zip(_SHARES, (spaces, centered, spaces), strict=True):
        across_speakers = comparison != "all_speakers"
        chance = chance_agreement(emotions, speakers, across_speakers=across_speakers)
        measured[comparison] = {"chance": chance} | {
            kind: neighbor_agreement(
                space, emotions, speakers, neighbors=NEIGHBORS, across_speakers=across_speakers
            )
            for kind, space in compared.items()
        }
    return measured


def _sum_up(measured: Mapping[str, Any]) -> str:
    shares, centered = measured["other_speakers"], measured["other_speakers_centered"]
    return (
        f"{shares['upstream'][6]:.1%} of 6 neighbours, centred {centered['upstream'][6]:.1%} (MFCC "
        f"{shares['mfcc'][6]:.1%} and {centered['mfcc'][6]:.1%}, chance {shares['chance']:.1%})"
    )
