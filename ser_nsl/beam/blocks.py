"""Division of clips into blocks by a hash of their ids, and the pairs of blocks to compare.

Each pair of blocks is compared once, so a vector is sent as often as there are blocks: with more
blocks, more is shuffled, but a worker holds less.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam

from ser_nsl.beam.dead_letters import BadRecordError, count, dead_letter, flat_map_with_dead_letters

Chunk = tuple[int, list[str], bytes]
"""A part of a block: its number, ids in rising order, and their vectors in this order."""

_STEP = "joining embeddings and features"
_CHUNK_CLIPS = 4_096  # a few megabytes, since runners dislike large elements
_BLOCK_CLIPS = 200_000
_LEAST_BLOCKS = 8


def default_blocks(clips: int) -> int:
    """Chooses a number of blocks.

    Args:
        clips: Approximate number of clips.

    Returns:
        At least 8, which make 36 pairs for workers to share, and enough that a block has about
        200,000 clips: 0.2 GB of vectors of 256 numbers.
    """
    return max(_LEAST_BLOCKS, -(-clips // _BLOCK_CLIPS))


def block_of(utterance_id: str, blocks: int) -> int:
    """The block of a clip, the same in every process and on every run."""
    digest = hashlib.blake2b(utterance_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % blocks


@beam.ptransform_fn
def divide_into_blocks(
    inputs: Mapping[str, beam.PCollection], blocks: int
) -> tuple[beam.PCollection, beam.PCollection]:
    """Groups vectors into blocks, without duplicate ids and clips that have no features.

    Args:
        inputs: `vectors`, pairs of id and float32 bytes; if there are features, also `clips`, the
            id of each of them.
        blocks: Number of blocks.

    Returns:
        Chunks, and dead letters.
    """
    keys = {
        "vectors": lambda pair: block_of(pair[0], blocks),
        "clips": lambda utterance_id: block_of(utterance_id, blocks),
    }
    keyed = {name: inputs[name] | f"key {name}" >> beam.WithKeys(keys[name]) for name in inputs}
    return keyed | beam.CoGroupByKey() | "form" >> flat_map_with_dead_letters(_form_block, Chunk)


def _form_block(element: tuple[int, Mapping[str, Any]]) -> Iterator[Any]:
    block, groups = element
    vectors = sorted(groups["vectors"])
    embeddings = Counter(utterance_id for utterance_id, _ in vectors)
    features = Counter(groups["clips"]) if "clips" in groups else None
    good = []
    for utterance_id, vector in vectors:
        reason = None
        if embeddings[utterance_id] > 1:
            reason = f"its id is on {embeddings[utterance_id]} embeddings"
        elif features is not None and features[utterance_id] != 1:
            reason = f"has {features[utterance_id]} records of features, not one"
        if reason:
            yield dead_letter(_STEP, BadRecordError(reason, utterance_id=utterance_id))
        else:
            good.append((utterance_id, vector))
    count("clips", len(good))
    for start in range(0, len(good), _CHUNK_CLIPS):
        ids, values = zip(*good[start : start + _CHUNK_CLIPS], strict=True)
        yield block, list(ids), b"".join(values)


@beam.ptransform_fn
def pair_blocks(chunks: beam.PCollection, blocks: int) -> beam.PCollection:
    """Groups chunks by pair of blocks, the lower number first; a block is paired with itself too.

    Args:
        chunks: The chunks of all blocks.
        blocks: Number of blocks.
    """

    def to_pairs(chunk: Chunk) -> Iterator[tuple[tuple[int, int], Chunk]]:
        for other in range(blocks):
            yield (min(chunk[0], other), max(chunk[0], other)), chunk

    return chunks | beam.FlatMap(to_pairs) | beam.GroupByKey()
