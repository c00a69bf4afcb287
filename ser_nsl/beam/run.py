"""The stage from clips, or from their features and embeddings, to a graph and training records."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from apache_beam.io.filesystems import FileSystems

from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.beam.make_graph import make_graph
from ser_nsl.beam.make_records import make_records
from ser_nsl.beam.place import anywhere, is_remote
from ser_nsl.corpora.labels import check_splits
from ser_nsl.errors import InputError
from ser_nsl.graph.exact import check_threshold
from ser_nsl.pipeline.stage import read_record

_DEAD_LETTERS = "dead letters of "
_DEGREE = "clips with "


@anywhere(inputs=("manifest", "upstream"))
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
    layer: int | None = None,
    clip_seconds: float | None = None,
    window_seconds: float = 30.0,
    front_end: FrontEndConfig = FrontEndConfig(),  # noqa: B008 (frozen)
    similarity_threshold: float | Literal["auto"] = 0.99,
    max_neighbors: int | None = 3,
    blocks: int | None = None,
    splits: tuple[Literal["train", "val"], ...] = ("train",),
    shards: int = 4,
    runner: str = "FnApiRunner",
) -> Mapping[str, Any]:
    """Makes a graph and training records with Apache Beam, for corpora of any size.

    Give --embeddings and --features that exist, or --manifest and --upstream to make them first.
    Bad clips do not stop it: they go to OUT/dead_letters and are counted at the end. Costs, and
    the options of Dataflow, Flink and Spark, are told in docs/cluster.md.

    Args:
        beam_options: Options of Beam, after two hyphens: -- --direct_num_workers=8
        out: Folder for graph/graph-00000-of-00004.tsv, training, dead_letters, and from a
            manifest also features and embeddings. Local, or on a file system that Beam knows,
            as gs://bucket/folder; there it must be new. So may be the other paths.
        embeddings: Records of embeddings.
        features: Log Mel records; without them only a graph is made.
        manifest: The clips, one CSV file or a pattern of several.
        upstream: Folder or hub name of a checkpoint, to embed the manifest's clips.
        audio_dir: Audio root; by default the one recorded beside a local manifest.
        layer: Of the upstream; by default FC1.
        clip_seconds: Length of every clip in seconds; by default the longest's for features,
            and for embeddings every clip's own.
        window_seconds: Longest stretch of audio that the upstream sees at once, in seconds.
        front_end: Window, hop and bands.
        similarity_threshold: Least cosine similarity of an edge, -1 to 1. What fits depends on
            the upstream; `auto` is refused, since only tools/build_graph.py, on one machine,
            can choose it.
        max_neighbors: Most edges from a clip, and most neighbours in its record, the most similar
            first; None for all, in a graph without records.
        blocks: Into how many blocks clips are divided, which are compared in pairs; by default
            at least 8, and so many that one has about 200,000 clips.
        splits: Which clips become nodes, train and serve as neighbours; never the test split.
        shards: Files of an output; 0 leaves it to the runner and saves a shuffle of all records.
        runner: A runner of Beam. FnApiRunner runs here, in two worker processes. DirectRunner
            would first look for a program, Prism, to download.

    Returns:
        Everything counted: clips, pairs compared, lines of the graph, labelled and unlabelled
        clips, how many clips have how many neighbours, and dead letters of each step.

    Raises:
        InputError: If settings do not fit together, an input is missing or damaged as a whole, or
            no two clips are similar enough.
    """
    if (manifest is None) == (embeddings is None):
        raise InputError(
            "manifest, embeddings: exactly one must be given, what is there already or what to "
            f"make it from; received {manifest} and {embeddings}."
        )
    if (manifest is None) != (upstream is None) or (manifest and features):
        raise InputError(
            "manifest: needs an upstream, and makes the features; received "
            f"upstream {upstream} and features {features}."
        )
    if max_neighbors is None and (manifest or features):
        raise InputError(
            "max_neighbors: None makes a graph without records; leave out --features, or choose a "
            "number."
        )
    if any(option.startswith("--runner") for option in beam_options):
        raise InputError(
            "beam_options: the runner is an option of this program, so it stands before the two "
            f"hyphens; received {' '.join(beam_options)}."
        )
    check_splits(splits)
    for name, value, least in (
        ("max_neighbors", max_neighbors, 1),
        ("blocks", blocks, 1),
        ("shards", shards, 0),
    ):
        if value is not None and value < least:
            raise InputError(f"{name}: must be {least} or more; received {value}.")
    if similarity_threshold == "auto":
        raise InputError(
            "similarity_threshold: auto works on one machine only; let tools/build_graph.py choose "
            "one for some of the embeddings, and give that number here."
        )
    check_threshold(similarity_threshold)
    out = str(out)
    where: dict[str, Any] = {"out": out, "splits": splits, "shards": shards}
    how: dict[str, Any] = {"runner": runner, "beam_options": beam_options}
    counted: dict[str, int] = {}
    if manifest is not None and upstream is not None:
        counted = make_records(
            manifest=manifest,
            audio_dir=audio_dir or _recorded_audio_dir(manifest),
            upstream=upstream,
            layer=layer,
            clip_seconds=clip_seconds,
            window_seconds=window_seconds,
            front_end=front_end,
            **where,
            **how,
        )
        features, embeddings = (FileSystems.join(out, name) for name in ("features", "embeddings"))
    assert embeddings is not None  # given or made
    counted |= make_graph(
        embeddings=embeddings,
        features=features,
        similarity_threshold=similarity_threshold,
        max_neighbors=max_neighbors,
        blocks=blocks,
        **where,
        **how,
    )
    return _in_order(counted)


def _recorded_audio_dir(manifest: str) -> str:
    record = None if is_remote(manifest) else read_record(Path(manifest))
    if record is None or "audio_dir" not in record["paths"]:
        raise InputError(
            f"{manifest}: no record beside it tells where its audio is; pass --audio-dir."
        )
    return record["paths"]["audio_dir"]


def _in_order(counted: Mapping[str, int]) -> dict[str, Any]:
    """Counts as stages tell them, with clips by neighbours and dead letters by step."""
    degrees = {
        int(name.split()[2]): number for name, number in counted.items() if name.startswith(_DEGREE)
    }
    letters = {
        name.removeprefix(_DEAD_LETTERS): number
        for name, number in sorted(counted.items())
        if name.startswith(_DEAD_LETTERS)
    }
    others = {
        name.replace(" ", "_"): number
        for name, number in counted.items()
        if not name.startswith((_DEGREE, _DEAD_LETTERS))
    }
    by_neighbors = {"clips_by_neighbors": dict(sorted(degrees.items()))} if degrees else {}
    return (
        others
        | by_neighbors
        | {"dead_letters": sum(letters.values())}
        | ({"dead_letters_by_step": letters} if letters else {})
    )
