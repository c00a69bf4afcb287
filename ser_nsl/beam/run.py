"""The stage from clips, or from their features and embeddings, to a graph and training records."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.beam.output import is_remote, local_or_remote_stage
from ser_nsl.errors import InputError, check_least
from ser_nsl.pipeline.record import read_record
from ser_nsl.upstream.encoder import Pooling

_DEAD_LETTERS = "dead letters of "
_NEIGHBORS = "clips with "


@local_or_remote_stage(inputs=("manifest", "upstream"))
def beam_graph(
    beam_options: tuple[str, ...] = (),
    /,
    *,
    out: str,
    embeddings: str | None = None,
    features: str | None = None,
    manifest: str | None = None,
    upstream: str | None = None,
    audio_dir: str | None = None,
    layers: tuple[int, ...] | None = None,
    pooling: Pooling = "statistics",
    clip_seconds: float | None = None,
    window_seconds: float = 30.0,
    front_end: FrontEndConfig = FrontEndConfig(),  # noqa: B008 (frozen)
    similarity_threshold: float | Literal["auto"] = 0.99,
    max_neighbors: int = 3,
    blocks: int | None = None,
    splits: tuple[Literal["train", "val"], ...] = ("train",),
    shards: int = 4,
    runner: str = "FnApiRunner",
) -> Mapping[str, Any]:
    """Makes a graph and training records with Apache Beam, for corpora of any size.

    Give --embeddings and --features that exist, or --manifest and --upstream to make them first.
    Bad clips do not stop it: they go to OUT/dead_letters and are counted at the end. See
    docs/cluster.md for costs, and for the options of Dataflow, Flink and Spark.

    Args:
        beam_options: Options of Beam, after two hyphens: -- --direct_num_workers=8
        out: Folder for graph/graph-00000-of-00004.tsv, training, dead_letters, and from a
            manifest also features and embeddings. Local, or on a file system that Beam knows,
            like gs://bucket/folder, where it must be new. This holds for the other paths too.
        embeddings: Folder with the embeddings.
        features: Folder with the features; without them only a graph is made.
        manifest: Manifest of the corpus, one CSV file or a pattern of several.
        upstream: Folder or hub name of a checkpoint, to embed the manifest's clips.
        audio_dir: Audio root; by default the one recorded beside a local manifest.
        layers: Numbers of the upstream's layers; by default FC1.
        pooling: Of their frames over time: `statistics`, mean and deviation, or `mean`.
        clip_seconds: Length of every clip in seconds; by default that of the longest training
            clip for features, and every clip's own for embeddings.
        window_seconds: Longest stretch of audio that the upstream gets at once, in seconds.
        front_end: Window, hop and bands.
        similarity_threshold: Least cosine similarity of an edge, -1 to 1. The right one depends
            on the upstream; `auto` is refused, since only ser-nsl build-graph, on one machine,
            can choose it.
        max_neighbors: Most edges from a clip, and most neighbours in its record, the most similar
            first; 0 for all, in a graph without records.
        blocks: Number of blocks of clips, which are compared in pairs; by default at least 8, and
            enough that a block has about 200,000 clips.
        splits: Splits whose clips become nodes, train and are neighbours; never the test split.
        shards: Files per output; 0 leaves it to the runner and saves a shuffle of all records.
        runner: Name of a Beam runner. FnApiRunner runs on this machine, in two worker processes.
            DirectRunner would first look for a program, Prism, to download.

    Returns:
        Counts of clips, compared pairs, lines of the graph, labelled and unlabelled clips, clips
        by number of neighbours, and dead letters by step.

    Raises:
        InputError: If settings contradict each other, Beam is not installed, an input is missing
            or damaged as a whole, or no two clips are similar enough.
    """
    import_beam()
    from ser_nsl.beam.make_graph import make_graph
    from ser_nsl.beam.make_records import make_records
    from ser_nsl.beam.runner import Job
    from ser_nsl.corpora.labels import check_splits
    from ser_nsl.graph.exact import check_threshold

    if (manifest is None) == (embeddings is None):
        raise InputError(
            "manifest, embeddings: exactly one must be given, the embeddings or the manifest to "
            f"make them from; received {manifest} and {embeddings}."
        )
    if (manifest is None) != (upstream is None) or (manifest and features):
        raise InputError(
            "manifest: needs an upstream, and makes the features; received "
            f"upstream {upstream} and features {features}."
        )
    if max_neighbors == 0 and (manifest or features):
        raise InputError(
            "max_neighbors: 0 (all) makes a graph without records; leave out --features, or choose "
            "a number."
        )
    if any(option.startswith("--runner") for option in beam_options):
        raise InputError(
            "beam_options: give the runner as --runner before the two hyphens; received "
            f"{' '.join(beam_options)}."
        )
    check_splits(splits)
    check_least(1, blocks=blocks)
    check_least(0, max_neighbors=max_neighbors, shards=shards)
    if similarity_threshold == "auto":
        raise InputError(
            "similarity_threshold: auto works on one machine only; let ser-nsl build-graph choose "
            "one for a part of the embeddings, and give that number here."
        )
    check_threshold(similarity_threshold)
    job = Job(str(out), splits, shards, runner, beam_options)
    counted: dict[str, int] = {}
    if manifest is not None and upstream is not None:
        counted = make_records(
            job,
            manifest=manifest,
            audio_dir=audio_dir or _recorded_audio_dir(manifest),
            upstream=upstream,
            layers=layers,
            pooling=pooling,
            clip_seconds=clip_seconds,
            window_seconds=window_seconds,
            front_end=front_end,
        )
        features, embeddings = (job.path(name) for name in ("features", "embeddings"))
    assert embeddings is not None  # given or made
    counted |= make_graph(
        job,
        embeddings=embeddings,
        features=features,
        similarity_threshold=similarity_threshold,
        max_neighbors=max_neighbors or None,
        blocks=blocks,
    )
    return _arrange(counted)


def import_beam() -> None:
    """Imports Beam without its warnings of packages that only BigQuery needs."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        import apache_beam  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"beam_graph: needs Apache Beam ({error}); run `pip install 'ser-nsl[beam]'`."
        ) from error
    finally:
        logging.disable(level)


def _recorded_audio_dir(manifest: str) -> str:
    record = None if is_remote(manifest) else read_record(Path(manifest))
    if record is None or "audio_dir" not in record["paths"]:
        raise InputError(
            f"{manifest}: no record beside it says where its audio is; pass --audio-dir."
        )
    return record["paths"]["audio_dir"]


def _arrange(counted: Mapping[str, int]) -> dict[str, Any]:
    """Arranges counters as other stages do: clips by neighbours and dead letters by step."""
    counts: dict[str, Any] = {}
    by_neighbors: dict[int, int] = {}
    by_step: dict[str, int] = {}
    for name, number in sorted(counted.items()):
        if name.startswith(_NEIGHBORS):
            by_neighbors[int(name.split()[2])] = number
        elif name.startswith(_DEAD_LETTERS):
            by_step[name.removeprefix(_DEAD_LETTERS)] = number
        else:
            counts[name.replace(" ", "_")] = number
    if by_neighbors:
        counts["clips_by_neighbors"] = dict(sorted(by_neighbors.items()))
    counts["dead_letters"] = sum(by_step.values())
    if by_step:
        counts["dead_letters_by_step"] = by_step
    return counts
