"""Training records: each labelled clip with the features of its neighbours.

Three joins by id: the edges of labelled clips become requests to their neighbours; each clip's
features are sent to those that request them; each labelled clip is packed with what it got.
Features are passed on as the serialised records that were read.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystem import FileMetadata

from ser_nsl.audio.examples import UNLABELLED
from ser_nsl.beam.dead_letters import (
    BadRecordError,
    check_record,
    count,
    dead_letter,
    flat_map_with_dead_letters,
    map_or_dead_letter,
)
from ser_nsl.beam.edges import Neighbor
from ser_nsl.beam.record_folders import parse, read_records
from ser_nsl.graph.stand_in import merged

Clip = tuple[str, tuple[bool, bytes]]
"""The id of a clip, whether it has a label, and its record of features."""

Groups = Mapping[str, Iterable[Any]]
"""What was joined by an id, by name of the input."""


@beam.ptransform_fn
def read_clips(
    pipeline: beam.Pipeline, files: Sequence[FileMetadata], logmel_shape: tuple[int, int]
) -> tuple[beam.PCollection, beam.PCollection]:
    """Reads features.

    Args:
        pipeline: The pipeline.
        files: Features.
        logmel_shape: Frames and Mel bands of every clip.

    Returns:
        `Clip`s, and dead letters.
    """
    check = partial(_check, size=logmel_shape[0] * logmel_shape[1])
    return (
        pipeline
        | "read" >> read_records(files)
        | "check" >> map_or_dead_letter("reading features", check, Clip)
    )


def _check(record: tuple[str, bytes], size: int) -> Clip:
    path, raw = record
    utterance_id, example = parse(path, raw)
    feature = example.features.feature
    logmel = np.array(feature["logmel"].float_list.value, np.float32)
    label = feature["label"].int64_list.value
    check_record(
        utterance_id,
        path,
        (len(logmel) == size, f"has {len(logmel)} numbers, not {size} as description.json says"),
        (bool(np.isfinite(logmel).all()), "holds NaN or infinity"),
        (bool(label), f"has no label, not even {UNLABELLED} for a clip without an emotion"),
    )
    return utterance_id, (label[0] != UNLABELLED, raw)


@beam.ptransform_fn
def pack_neighbors(
    inputs: Mapping[str, beam.PCollection],
) -> tuple[beam.PCollection, beam.PCollection]:
    """Joins labelled clips with their neighbours; a clip without a label is a neighbour only.

    Args:
        inputs: `nearest`, pairs of source and a list of `Neighbor`s, and `clips`.

    Returns:
        Training records as `nsl.tools.pack_nbrs` writes them, and dead letters.
    """
    labelled = inputs["clips"] | "labelled" >> beam.FlatMapTuple(_if_labelled)
    requests = (
        {"nearest": inputs["nearest"], "labelled": labelled}
        | "join labels" >> beam.CoGroupByKey()
        | "request" >> beam.FlatMapTuple(_request)
    )
    sent, duplicates = (
        {"requests": requests, "clips": inputs["clips"]}
        | "join features" >> beam.CoGroupByKey()
        | "send" >> flat_map_with_dead_letters(_send, tuple[str, tuple[Neighbor | None, bytes]])
    )
    packed = sent | "join neighbours" >> beam.GroupByKey() | "pack" >> beam.FlatMapTuple(_pack)
    return packed, duplicates


def _if_labelled(utterance_id: str, clip: tuple[bool, bytes]) -> Iterator[tuple[str, None]]:
    is_labelled, _ = clip
    if is_labelled:
        yield utterance_id, None


def _request(source: str, groups: Groups) -> Iterator[tuple[str, tuple[str, float]]]:
    """Requests the features of a labelled clip's neighbours, from these neighbours."""
    if any(True for _ in groups["labelled"]):
        for neighbors in groups["nearest"]:
            for weight, target in neighbors:
                yield target, (source, weight)


def _send(element: tuple[str, Groups]) -> Iterator[Any]:
    """Sends a clip's features to all that request them, and if it is labelled to itself."""
    utterance_id, groups = element
    clips = list(groups["clips"])
    if len(clips) > 1:
        reason = f"its id is on {len(clips)} records of features"
        error = BadRecordError(reason, utterance_id=utterance_id)
        yield dead_letter("joining features by id", error)
        return
    ((is_labelled, features),) = clips
    if is_labelled:
        yield utterance_id, (None, features)
    else:
        count("unlabelled")
    for source, weight in groups["requests"]:
        yield source, ((weight, utterance_id), features)


def _pack(_: str, received: Iterable[tuple[Neighbor | None, bytes]]) -> Iterator[bytes]:
    """Makes a training record of a clip's own features, sent for no neighbour, and the others."""
    received = list(received)
    neighbors = sorted(
        ((neighbor, features) for neighbor, features in received if neighbor), reverse=True
    )
    records = [features for _, features in neighbors]
    weights = [weight for (weight, _), _ in neighbors]
    for own in (features for neighbor, features in received if not neighbor):
        count("labelled")
        count(f"clips with {len(neighbors)} neighbors")
        yield merged(own, records, weights)
