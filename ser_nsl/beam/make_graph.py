"""The pipeline from embeddings and features to a graph and training records."""

from collections.abc import Mapping

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from ser_nsl.beam.blocks import default_blocks, divide_into_blocks
from ser_nsl.beam.dead_letters import DEAD_LETTERS, write_dead_letters
from ser_nsl.beam.edges import compare_clips, keep_nearest, write_graph
from ser_nsl.beam.pack import pack_neighbors, read_clips
from ser_nsl.beam.record_folders import (
    DESCRIPTION_NAME,
    estimate_records,
    find_shards,
    read_description,
    write_records,
)
from ser_nsl.beam.runner import Job, run_beam
from ser_nsl.beam.vectors import read_kind, read_vectors
from ser_nsl.errors import InputError


def make_graph(
    job: Job,
    *,
    embeddings: str,
    features: str | None,
    similarity_threshold: float,
    max_neighbors: int | None,
    blocks: int | None,
) -> dict[str, int]:
    """Makes OUT/graph, and OUT/training if there are features.

    The other settings are those of `ser_nsl.beam.run.beam_graph`.

    Returns:
        All counters, and the number of blocks.

    Raises:
        InputError: If records are missing, a file of them is damaged, or there is no edge.
    """
    files = find_shards(embeddings, job.splits)
    kind = read_kind(files)
    blocks = blocks or default_blocks(estimate_records(files))
    training = job.path("training")
    if features is not None:
        feature_files = find_shards(features, job.splits)
        description, content = read_description(features)

    def construct(pipeline: beam.Pipeline) -> None:
        vectors, unfit_vectors = pipeline | "embeddings" >> read_vectors(files, kind)
        inputs, letters = {"vectors": vectors}, [unfit_vectors]
        if features is not None:
            clips, unfit_clips = pipeline | "features" >> read_clips(
                feature_files, description.logmel_shape
            )
            inputs["clips"] = clips | "ids of features" >> beam.Keys()
            letters.append(unfit_clips)
        chunks, left_out = inputs | "blocks" >> divide_into_blocks(blocks)
        letters.append(left_out)
        nearest = (
            chunks
            | "compare" >> compare_clips(blocks, similarity_threshold, max_neighbors)
            | "nearest" >> keep_nearest(max_neighbors)
        )
        _ = nearest | "write graph" >> write_graph(job.path("graph", "graph"), job.shards)
        if features is not None:
            packed, duplicates = {"nearest": nearest, "clips": clips} | "pack" >> pack_neighbors()
            letters.append(duplicates)
            _ = packed | "write training" >> write_records(training, "train", job.shards)
        write_dead_letters(letters, job.path("dead_letters", "graph"))

    counted = run_beam(job, construct)
    if counted and not counted.get("edge lines"):  # some runners count nothing
        raise _no_edge(counted, similarity_threshold)
    if features is not None:
        with FileSystems.create(FileSystems.join(training, DESCRIPTION_NAME)) as file:
            file.write(content)
    return counted | {"blocks": blocks}


def _no_edge(counted: Mapping[str, int], similarity_threshold: float) -> InputError:
    names = [name for name in counted if name.startswith(DEAD_LETTERS)]
    unfit = f" ({', '.join(f'{counted[name]} {name}' for name in names)})" if names else ""
    return InputError(
        f"similarity_threshold: no two of the {counted.get('clips', 0)} clips that could be used"
        f"{unfit} reach {similarity_threshold}, so there is no edge; lower it, or let "
        "ser-nsl build-graph choose one for a part of the embeddings."
    )
