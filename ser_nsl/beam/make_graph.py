"""The pipeline from embeddings and features to a graph and training records."""

from collections.abc import Mapping, Sequence

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from ser_nsl.beam.blocks import DivideIntoBlocks, default_blocks
from ser_nsl.beam.description import read_description, write_description
from ser_nsl.beam.edges import FindEdges, WriteGraph
from ser_nsl.beam.letters import LETTERS, WriteLetters
from ser_nsl.beam.nearest import KeepNearest
from ser_nsl.beam.pack import PackNeighbors, ReadClips
from ser_nsl.beam.pipeline import run_pipeline
from ser_nsl.beam.shards import WriteRecords, estimate_records, find_shards
from ser_nsl.beam.vectors import ReadVectors, read_kind
from ser_nsl.errors import InputError


def make_graph(
    *,
    embeddings: str,
    features: str | None,
    out: str,
    similarity_threshold: float,
    max_neighbors: int | None,
    blocks: int | None,
    splits: Sequence[str],
    shards: int,
    runner: str,
    beam_options: Sequence[str],
) -> dict[str, int]:
    """Makes OUT/graph, and OUT/training where there are features.

    The settings are those of `ser_nsl.beam.run.beam_graph`.

    Returns:
        What was counted, and the number of blocks.

    Raises:
        InputError: If records are missing, a file of them is damaged, or there is no edge.
    """
    files = find_shards(embeddings, splits)
    kind = read_kind(files)
    blocks = blocks or default_blocks(estimate_records(files))
    if features is not None:
        feature_files = find_shards(features, splits)
        description, text = read_description(features)

    def construct(pipeline: beam.Pipeline) -> None:
        vectors, letters = pipeline | "embeddings" >> ReadVectors(files, kind)
        letters = [letters]
        parts = {"vectors": vectors}
        if features is not None:
            clips, unfit = pipeline | "features" >> ReadClips(
                feature_files, description.logmel_shape
            )
            letters.append(unfit)
            parts["clips"] = clips | "ids of features" >> beam.Keys()
        chunks, left_out = parts | "blocks" >> DivideIntoBlocks(blocks)
        letters.append(left_out)
        nearest = (
            chunks
            | "compare" >> FindEdges(blocks, similarity_threshold, max_neighbors)
            | "nearest" >> KeepNearest(max_neighbors)
        )
        prefix = FileSystems.join(out, "graph", "graph")
        _ = nearest | "write graph" >> WriteGraph(prefix, shards)
        if features is not None:
            packed, doubled = {"nearest": nearest, "clips": clips} | "pack" >> PackNeighbors()
            letters.append(doubled)
            _ = packed | "write training" >> WriteRecords(
                FileSystems.join(out, "training"), "train", shards
            )
        prefix = FileSystems.join(out, "dead_letters", "graph")
        _ = letters | beam.Flatten() | "write letters" >> WriteLetters(prefix)

    counted = run_pipeline(construct, runner, beam_options)
    if counted and not counted.get("edge lines"):  # some runners count nothing
        raise _no_edge(counted, similarity_threshold)
    if features is not None:
        write_description(text, FileSystems.join(out, "training"))
    return counted | {"blocks": blocks}


def _no_edge(counted: Mapping[str, int], similarity_threshold: float) -> InputError:
    letters = [f"{number} {name}" for name, number in counted.items() if name.startswith(LETTERS)]
    unfit = f" ({', '.join(letters)})" if letters else ""
    return InputError(
        f"similarity_threshold: no two of the {counted.get('clips', 0)} clips that could be used"
        f"{unfit} reach {similarity_threshold}, so there is no edge; lower it, or let "
        "tools/build_graph.py choose one for some of the embeddings."
    )
