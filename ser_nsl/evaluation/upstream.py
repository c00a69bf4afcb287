"""The stage that measures an upstream: how well it knows its source, and judges likeness elsewhere.

A target's labels serve for measuring only: nothing is trained or chosen here.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm
from transformers import TFWav2Vec2ForSequenceClassification
from transformers.modeling_tf_utils import keras

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, read_audio, read_batches
from ser_nsl.corpora.manifest import audio_paths, read_manifest
from ser_nsl.embeddings.center import without_speaker_means
from ser_nsl.embeddings.mfcc import mfcc_embeddings
from ser_nsl.errors import InputError
from ser_nsl.evaluation.scores import score
from ser_nsl.graph.quality import chance_agreement, neighbor_agreement
from ser_nsl.pipeline.stage import stage
from ser_nsl.upstream.checkpoint import fingerprint, load_upstream, quiet_transformers
from ser_nsl.upstream.embed import Embedder
from ser_nsl.upstream.encoder import LEAST_SAMPLES

NEIGHBORS = (3, 6, 9)

_SHARES = ("other_speakers", "other_speakers_centered", "all_speakers")
_COMPARISONS = {"other_speakers": True, "all_speakers": False}  # whether a clip's own is left out


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
    """Measures a fine-tuned upstream on its source's test split and as a judge of likeness.

    On each target: of the 3, 6 and 9 clips whose embeddings are nearest by cosine, the share that
    has the clip's emotion, among other speakers, among other speakers after each speaker's mean
    was taken away, and among all. Beside it stand what chance gives, the same for MFCCs, and the
    same for the network untrained.

    Args:
        upstream: Folder or hub name of a checkpoint with an emotion head.
        source: Manifest of the corpus that the head knows; its test split is scored.
        out: Result file (JSON).
        targets: Manifests of other corpora, of which all clips are compared.
        clip_seconds: Length to which every clip is cut or repeated for the upstream, in seconds;
            MFCCs see whole clips.
        seed: Of the untrained network's weights.

    Returns:
        UAR, accuracy and number of clips of the source's test split, and of each target the share
        among 6 neighbours by other speakers, beside MFCCs and chance.

    Raises:
        InputError: If the checkpoint or a clip cannot be used, the source has no test clip or one
            whose emotion the checkpoint does not know, or a target's clips lack an emotion or
            speaker or are too few.
    """
    samples = round(clip_seconds * SAMPLE_RATE_HZ)
    if samples < LEAST_SAMPLES:
        raise InputError(
            f"clip_seconds: must be at least {LEAST_SAMPLES / SAMPLE_RATE_HZ}; received "
            f"{clip_seconds}."
        )
    corpora = _read_targets(targets)
    model, extractor = load_upstream(upstream)
    classes = tuple(label for _, label in sorted((model.config.id2label or {}).items()))
    tests = _read_tests(source, classes)
    trained = Embedder(model, extractor, samples)
    untrained = Embedder(_untrained(model, seed), extractor, samples)
    result: dict[str, Any] = {
        "upstream": fingerprint(model, extractor, with_head=True),
        "clip_seconds": clip_seconds,
        "source": _score(tests, trained, model, classes),
        "targets": {
            name: _compare(clips, {"upstream": trained, "untrained": untrained}, name)
            for name, clips in corpora.items()
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
        path: The JSON file.

    Returns:
        `upstream` (the checkpoint's hash), `clip_seconds`, `source` (corpus, speakers, and what
        `ser_nsl.evaluation.model.score` gives), and `targets`: by corpus `clips`, `speakers`,
        `emotions`, and for `other_speakers`, `other_speakers_centered` and `all_speakers` the
        shares: `chance`, and `mfcc`, `untrained`, `upstream` by number of neighbours. All shares
        are in [0, 1].

    Raises:
        InputError: If it is missing or has another form.
    """
    try:
        values = json.loads(Path(path).read_text())
        _ = values["upstream"], values["source"]["uar"]
        _ = [target[kind]["mfcc"] for target in values["targets"].values() for kind in _SHARES]
        return values
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: is not a result file of tools/measure_upstream.py "
            f"({type(error).__name__}: {error})."
        ) from error


def _read_targets(manifests: Sequence[Path]) -> dict[str, pd.DataFrame]:
    """Reads the clips to compare, by corpus."""
    corpora: dict[str, pd.DataFrame] = {}
    for manifest in manifests:
        table = read_manifest(manifest)
        for column in ("emotion", "speaker"):
            lacking = table.loc[table[column] == "", "utterance_id"]
            if len(lacking):
                raise InputError(
                    f"{manifest}: {len(lacking)} clips have no {column} (first: "
                    f"{', '.join(lacking[:3])}); likeness is measured on labelled clips only."
                )
        name = table["corpus"].iloc[0]
        if name in corpora:
            raise InputError(f"targets: {manifest} is the second of {name}; give one a corpus.")
        corpora[name] = table.assign(audio=audio_paths(table, manifest, None))
    return corpora


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


def _untrained(
    model: TFWav2Vec2ForSequenceClassification, seed: int
) -> TFWav2Vec2ForSequenceClassification:
    """The same network with random weights."""
    keras.utils.set_random_seed(seed)
    with quiet_transformers():
        twin = TFWav2Vec2ForSequenceClassification(model.config)
        twin.build_in_name_scope()
    return twin


def _score(
    clips: pd.DataFrame,
    embedder: Embedder,
    model: TFWav2Vec2ForSequenceClassification,
    classes: tuple[str, ...],
) -> dict[str, Any]:
    logits = model.classifier(_embed(clips, embedder, "source")).numpy()
    labels = clips["emotion"].map(classes.index).to_numpy()
    about = {"corpus": clips["corpus"].iloc[0], "speakers": sorted(set(clips["speaker"]))}
    return about | score(labels, logits.argmax(axis=1), classes)


def _compare(clips: pd.DataFrame, embedders: Mapping[str, Embedder], name: str) -> dict[str, Any]:
    """Shares of neighbours of one emotion, by what finds the neighbours."""
    waveforms = map(read_audio, tqdm(clips["audio"], desc=f"{name}, mfcc", unit="clip"))
    spaces = {"mfcc": mfcc_embeddings(waveforms)}
    for kind, embedder in embedders.items():
        spaces[kind] = _embed(clips, embedder, f"{name}, {kind}")
    emotions, speakers = clips["emotion"], clips["speaker"]
    measured: dict[str, Any] = {
        "clips": len(clips),
        "speakers": len(set(speakers)),
        "emotions": len(set(emotions)),
    }
    for comparison, across_speakers in _COMPARISONS.items():
        chance = chance_agreement(emotions, speakers, across_speakers=across_speakers)
        measured[comparison] = {"chance": chance}
        for kind, space in spaces.items():
            measured[comparison][kind] = neighbor_agreement(
                space, emotions, speakers, neighbors=NEIGHBORS, across_speakers=across_speakers
            )
    measured["other_speakers_centered"] = {"chance": measured["other_speakers"]["chance"]} | {
        kind: neighbor_agreement(
            without_speaker_means(space, speakers),
            emotions,
            speakers,
            neighbors=NEIGHBORS,
            across_speakers=True,
        )
        for kind, space in spaces.items()
    }
    return measured


def _embed(clips: pd.DataFrame, embedder: Embedder, title: str) -> np.ndarray:
    """Embeds clips, each cut or repeated to one window; shape `(clips, width)`."""
    vectors = []
    with tqdm(total=len(clips), desc=title, unit="clip") as bar:
        batches = read_batches(list(clips["audio"]), embedder.window, batch=embedder.batch_size)
        for waveforms in batches:
            vectors.append(embedder(waveforms).numpy())
            bar.update(len(waveforms))
    return np.concatenate(vectors)


def _sum_up(measured: Mapping[str, Any]) -> str:
    shares, centered = measured["other_speakers"], measured["other_speakers_centered"]
    return (
        f"{shares['upstream'][6]:.1%} of 6 neighbours, centred {centered['upstream'][6]:.1%} (MFCC "
        f"{shares['mfcc'][6]:.1%} and {centered['mfcc'][6]:.1%}, chance {shares['chance']:.1%})"
    )
