"""The stage that measures how much emotion upstreams hold, side by side with MFCCs.

The labels of a target serve for measuring only: nothing of an upstream is trained or chosen there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, fit_length, read_clips
from ser_nsl.corpora.manifest import audio_paths, read_manifest
from ser_nsl.errors import InputError, refuse
from ser_nsl.evaluation.scores import score
from ser_nsl.pipeline.bars import Bar
from ser_nsl.pipeline.stage import stage

if TYPE_CHECKING:
    from ser_nsl.upstream.checkpoint import Upstream
    from ser_nsl.upstream.embedder import Embedder

NEIGHBORS = 6
"""Neighbours of a clip that are counted."""

MFCC, UNTRAINED = "MFCC", "untrained"
"""Names of what stands beside upstreams."""

_FEW_LABELS, _DRAWS = 0.25, 3  # share of the labels, and how often it is drawn
_WORTH = 0.05  # UAR above that of MFCCs from which on a graph can help
_AS_RECORDED = "as recorded"


@stage(inputs=("upstream", "targets", "source", "compare"), makes="file")
def measure_upstream(
    *,
    upstream: str,
    out: Path,
    targets: tuple[Path, ...] = (),
    source: Path | None = None,
    compare: tuple[str, ...] = (),
    layers: tuple[int, ...] = (),
    clip_seconds: float = 4.0,
    seed: int = 0,
) -> Mapping[str, Any]:
    """Measures how much emotion an upstream holds on corpora, and whether it is worth a graph.

    On each target: UAR of a linear classifier on speakers that it has not heard, with all and with
    a quarter of the labels, on embeddings as they are and standardised over each speaker's clips;
    the same, trained on clips as recorded and tested on these clips with noise (20 dB), through
    8 kHz, and 20 dB quieter; and the share of a clip's six nearest clips by other speakers that
    have its emotion. Beside the upstream stand MFCCs, its encoder with random weights, and other
    upstreams. A graph is worth while where a quarter of the labels gives 5 points more than with
    MFCCs.

    Args:
        upstream: Folder or hub name of a wav2vec 2.0, a HuBERT or a Whisper. Its layers are
            measured, and FC1 if it has an emotion head.
        out: Result file (JSON).
        targets: Manifests of corpora, of which all clips are used, of all splits.
        source: Manifest of the corpus that the heads have learned. Its test split is scored, and
            layers are chosen on its validation split.
        compare: Other upstreams, each measured as the first; the layers of one encoder under
            several heads are measured once.
        layers: Layers whose mean and deviation over time are measured; by default those that a
            linear classifier finds best on `source`, or else the last one.
        clip_seconds: Length to which every clip is cut or repeated for upstreams, in seconds;
            MFCCs are taken from whole clips.
        seed: Seed of random weights, of noise, and of the choice of labels.

    Returns:
        For each target one line: UAR of upstream and MFCCs, and whether a graph is worth while;
        for each head its UAR on the source's test split.

    Raises:
        InputError: If there is neither target nor source, a checkpoint or a clip cannot be used, a
            target's clips lack an emotion or speaker or are too few, or the source has no test clip
            or one whose emotion a head does not know.

    Example:
        >>> made = measure_upstream(upstream="upstream", targets=(Path("manifest.csv"),),
        ...     out=Path("measures.json"), clip_seconds=0.3)  # doctest: +SKIP
        >>> print(made.counts["ravdess"])  # doctest: +SKIP
        FC1: UAR 61.1%, with a quarter of the labels 50.9% (MFCC 100.0%, 97.2%): not worth a graph
    """
    from ser_nsl.upstream.checkpoint import load_upstream

    names = (upstream, *compare)
    if not targets and source is None:
        raise InputError("targets, source: give a corpus to measure on.")
    if len(set(names)) < len(names):
        raise InputError(f"compare: upstreams must all be different; received {', '.join(names)}.")
    tables = _read_targets(targets)
    loaded = {name: load_upstream(name) for name in names}
    heads = {name: each for name, each in loaded.items() if each.head is not None}
    tests = None if source is None else _read_tests(source, heads)
    samples = round(clip_seconds * SAMPLE_RATE_HZ)
    embedders = _embedders(loaded, source if targets else None, layers, samples, seed)
    own = [space for space in embedders if space.startswith(f"{upstream}, ")][-1]
    result: dict[str, Any] = {
        "upstream": own,
        "clip_seconds": clip_seconds,
        "embeddings": {space: embedder.name for space, embedder in embedders.items()},
        "targets": {name: _measure(clips, embedders, seed) for name, clips in tables.items()},
        "source": {}
        if tests is None
        else {name: _score_head(tests, each, samples) for name, each in heads.items()},
    }
    out.write_text(json.dumps(result, indent=1) + "\n")
    scores = {f"head of {name}": f"{each['uar']:.1%}" for name, each in result["source"].items()}
    lines = {name: _verdict(measured, own) for name, measured in result["targets"].items()}
    return lines | scores


def read_measures(path: Path) -> dict[str, Any]:
    """Reads the result file of `measure_upstream`.

    Args:
        path: Result file (JSON).

    Returns:
        `upstream` (the name of its embeddings, as the chain takes them), `clip_seconds`,
        `embeddings` (from name to hash and part), `targets`: by corpus `clips`, `speakers`,
        `emotions`, `chance` (of neighbours) and `spaces`, by name of embeddings: `uar` (`raw` and
        `by_speaker`, each `all` and `quarter`), `damaged` (by damage) and `neighbors` (`raw` and
        `centered`); and `source`, by upstream with a head: corpus, speakers, and the scores as
        `score` returns them. All shares are in [0, 1].

    Raises:
        InputError: If the file is missing or has another form.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        for target in values["targets"].values():
            for space in (MFCC, UNTRAINED, *values["embeddings"]):
                _ = target["spaces"][space]["uar"]["raw"]["quarter"]
        _ = values["upstream"], [scores["uar"] for scores in values["source"].values()]
        return values
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: is not a result file of `ser-nsl measure-upstream` "
            f"({type(error).__name__}: {error})."
        ) from error


def _read_targets(manifests: Sequence[Path]) -> dict[str, pd.DataFrame]:
    """Reads the clips of each corpus."""
    tables: dict[str, pd.DataFrame] = {}
    for manifest in manifests:
        table = read_manifest(manifest)
        for column in ("emotion", "speaker"):
            lacking = table.loc[table[column] == "", "utterance_id"]
            rule = f"{manifest}: clips have no {column}"
            refuse(lacking, rule, "Targets need emotion and speaker of every clip.")
        others = len(table) - table["speaker"].value_counts().max()
        if table["emotion"].nunique() < 2 or others < NEIGHBORS:
            raise InputError(
                f"targets: {manifest} must have two emotions, and {NEIGHBORS} clips by others for "
                f"every speaker; it has {table['emotion'].nunique()} emotions and "
                f"{len(table)} clips by {table['speaker'].nunique()} speakers. Give more clips."
            )
        name = table["corpus"].iloc[0]
        if name in tables:
            raise InputError(
                f"targets: {manifest} is the second manifest of {name}; give one per corpus."
            )
        tables[name] = table.assign(audio=audio_paths(table, manifest, None))
    return tables


def _read_tests(manifest: Path, heads: Mapping[str, Upstream]) -> pd.DataFrame:
    """Reads the labelled test clips of the corpus that the heads have learned."""
    table = read_manifest(manifest)
    table = table[(table["split"] == "test") & (table["emotion"] != "")]
    if heads and table.empty:
        raise InputError(f"source: {manifest} has no labelled clip in the test split.")
    for name, upstream in heads.items():
        classes = upstream.require_head().classes
        foreign = sorted(set(table["emotion"]) - set(classes))
        if foreign:
            raise InputError(
                f"source: {manifest} has {', '.join(foreign)}, which the head of {name} does not "
                f"know; it knows {', '.join(classes)}. Give the corpus that it has learned."
            )
    return table.assign(audio=audio_paths(table, manifest, None))


def _embedders(
    loaded: Mapping[str, Upstream],
    source: Path | None,
    layers: tuple[int, ...],
    samples: int,
    seed: int,
) -> dict[str, Embedder]:
    """Returns by name what embeds: some layers and FC1 of each upstream, and random weights."""
    from transformers.modeling_tf_utils import keras

    from ser_nsl.upstream.checkpoint import Upstream, new_encoder
    from ser_nsl.upstream.choose import choose_layers
    from ser_nsl.upstream.embedder import Embedder

    embedders: dict[str, Embedder] = {}
    encoders: set[str] = set()
    for name, upstream in loaded.items():
        encoder, fingerprint = upstream.encoder, upstream.fingerprint(with_head=False)
        if fingerprint not in encoders:  # one under another head would give the same again
            encoders.add(fingerprint)
            chosen = layers
            if not chosen and source is not None:
                Bar.write(name)
                chosen = choose_layers(upstream, source, "statistics")
            chosen = chosen or (encoder.layers,)
            shown = "+".join(map(str, chosen))
            embedders[f"{name}, layers {shown}"] = Embedder(upstream, samples, layers=chosen)
            if UNTRAINED not in embedders:
                keras.utils.set_random_seed(seed)
                random = new_encoder(encoder.body.config, encoder.extractor)
                twin = Upstream(UNTRAINED, random, None)
                embedders[UNTRAINED] = Embedder(twin, samples, layers=chosen)
        if upstream.head is not None:
            embedders[f"{name}, FC1"] = Embedder(upstream, samples)
    return embedders


def _measure(clips: pd.DataFrame, embedders: Mapping[str, Embedder], seed: int) -> dict[str, Any]:
    """Measures each kind of embeddings on one corpus."""
    from ser_nsl.graph.quality import chance_agreement

    corpus, emotions, speakers = clips["corpus"].iloc[0], clips["emotion"], clips["speaker"]
    vectors = _embed(clips, embedders, seed)
    spaces = Bar(vectors.items(), desc=f"{corpus}, classifiers", unit="space")
    return {
        "clips": len(clips),
        "speakers": speakers.nunique(),
        "emotions": emotions.nunique(),
        "chance": chance_agreement(emotions, speakers),
        "spaces": {name: _measure_space(by_damage, clips, seed) for name, by_damage in spaces},
    }


def _embed(
    clips: pd.DataFrame, embedders: Mapping[str, Embedder], seed: int
) -> dict[str, dict[str, np.ndarray]]:
    """Embeds all clips, as recorded and damaged, reading each once.

    Returns:
        By kind of embeddings and by damage, float of shape `(clips, width)`.
    """
    from sklearn.preprocessing import StandardScaler

    from ser_nsl.embeddings.mfcc import mfcc_statistics

    damages = _damages(seed)
    found: dict[str, dict[str, list[np.ndarray]]] = {
        space: {damage: [] for damage in damages} for space in (MFCC, *embedders)
    }
    size = min(embedder.batch_size for embedder in embedders.values())
    reading = read_clips(list(clips["audio"]), ahead=2 * size)
    with Bar(total=len(clips), desc=clips["corpus"].iloc[0], unit="clip") as bar:
        while batch := list(islice(reading, size)):
            for damage, change in damages.items():
                changed = [change(waveform) for waveform in batch]
                found[MFCC][damage].append(np.stack([*map(mfcc_statistics, changed)]))
                for space, embedder in embedders.items():
                    fitted = np.stack([fit_length(each, embedder.window) for each in changed])
                    found[space][damage].append(embedder(fitted).numpy())
            bar.update(len(batch))
    vectors = {
        space: {damage: np.concatenate(parts) for damage, parts in by_damage.items()}
        for space, by_damage in found.items()
    }
    # Coefficients differ in size; a cosine needs them standardised, as extract_mfccs does it.
    scaler = StandardScaler().fit(vectors[MFCC][_AS_RECORDED])
    vectors[MFCC] = {damage: scaler.transform(each) for damage, each in vectors[MFCC].items()}
    return vectors


def _damages(seed: int) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Returns what a recording goes through, by name."""
    import soxr

    draw = np.random.default_rng(seed)

    def noise(waveform: np.ndarray) -> np.ndarray:
        level = np.sqrt(np.mean(waveform**2)) / 10  # 20 dB below the clip
        return waveform + draw.normal(0, level, len(waveform)).astype(np.float32)

    def narrow(waveform: np.ndarray) -> np.ndarray:
        half = SAMPLE_RATE_HZ // 2
        return soxr.resample(soxr.resample(waveform, SAMPLE_RATE_HZ, half), half, SAMPLE_RATE_HZ)

    return {
        _AS_RECORDED: lambda waveform: waveform,
        "noise 20 dB": noise,
        "8 kHz": narrow,
        "-20 dB": lambda waveform: waveform * np.float32(0.1),
    }


def _measure_space(
    vectors: Mapping[str, np.ndarray], clips: pd.DataFrame, seed: int
) -> dict[str, Any]:
    """Measures one kind of embeddings, given by damage."""
    from ser_nsl.embeddings.center import without_speaker_means
    from ser_nsl.evaluation.across_speakers import standardised_by_speaker, uar_across_speakers
    from ser_nsl.graph.quality import neighbor_agreement

    raw = vectors[_AS_RECORDED]
    damaged = uar_across_speakers(raw, clips, tested=vectors)

    def few(values: np.ndarray) -> float:
        draws = [
            uar_across_speakers(
                values,
                clips,
                tested={_AS_RECORDED: values},
                label_share=_FEW_LABELS,
                seed=seed + draw,
            )[_AS_RECORDED]
            for draw in range(_DRAWS)
        ]
        return float(np.mean(draws))

    def agreement(values: np.ndarray) -> float:
        return neighbor_agreement(values, clips["emotion"], clips["speaker"], neighbors=NEIGHBORS)

    standardised = standardised_by_speaker(raw, clips)
    by_speaker = uar_across_speakers(standardised, clips, tested={_AS_RECORDED: standardised})
    return {
        "uar": {
            "raw": {"all": damaged.pop(_AS_RECORDED), "quarter": few(raw)},
            "by_speaker": {"all": by_speaker[_AS_RECORDED], "quarter": few(standardised)},
        },
        "damaged": damaged,
        "neighbors": {
            "raw": agreement(raw),
            "centered": agreement(without_speaker_means(raw, clips["speaker"])),
        },
    }


def _score_head(tests: pd.DataFrame, upstream: Upstream, samples: int) -> dict[str, Any]:
    """Scores an emotion head on the test clips of the corpus that it has learned."""
    from ser_nsl.upstream.embedder import Embedder

    head = upstream.require_head()
    vectors = Embedder(upstream, samples).embed_files(
        list(tests["audio"]), f"test clips, {upstream.name}"
    )
    labels = tests["emotion"].map(head.classes.index).to_numpy()
    about = {"corpus": tests["corpus"].iloc[0], "speakers": sorted(set(tests["speaker"]))}
    return about | score(labels, head.logits(vectors).argmax(axis=1), head.classes)


def _verdict(measured: Mapping[str, Any], space: str) -> str:
    """Says in one line whether an upstream is worth a graph on a corpus."""
    own, plain = (measured["spaces"][name]["uar"]["raw"] for name in (space, MFCC))
    worth = own["quarter"] >= plain["quarter"] + _WORTH
    return (
        f"{space.rpartition(', ')[2]}: UAR {own['all']:.1%}, with a quarter of the labels "
        f"{own['quarter']:.1%} ({MFCC} {plain['all']:.1%}, {plain['quarter']:.1%}): "
        f"{'' if worth else 'not '}worth a graph"
    )
