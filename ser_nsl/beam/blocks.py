"""Division of clips into blocks by a hash of their ids, and the pairs of blocks to compare.

A block meets every block once, so each of its vectors goes to as many pairs as there are blocks:
what is shuffled grows with their number, what a worker holds shrinks with it.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.typehints.decorators import no_annotations

from ser_nsl.beam.letters import LETTERS, BadRecordError, count, dead_letter

Chunk = tuple[int, list[str], bytes]
"""Some clips of a block: its number, ids in rising order, and their vectors in this order."""

_STAGE = "joining embeddings and features"
_CHUNK = 4_096  # clips: some megabytes, since runners dislike large elements
_BLOCK_CLIPS = 200_000
_LEAST_BLOCKS = 8


def default_blocks(clips: int) -> int:
    """Chooses a number of blocks.

    Args:
        clips: How many there are, about.

    Returns:
        At least 8, which make 36 pairs for workers to share, and so many that a block has about
        200,000 clips: 0.2 GB of vectors of 256 numbers.
    """
    return max(_LEAST_BLOCKS, -(-clips // _BLOCK_CLIPS))


def block_of(utterance_id: str, blocks: int) -> int:
    """The block of a clip, the same in every process and on every run."""
    digest = hashlib.blake2b(utterance_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % blocks


class DivideIntoBlocks(beam.PTransform):
    """Groups vectors into blocks; leaves out doubled ids, and clips without features.

    It takes a mapping with `vectors`, pairs of id and float32 bytes, and where there are features
    also `clips`, the id of each of them. It returns chunks and dead letters.
    """

    def __init__(self, blocks: int) -> None:
        """Sets how many.

        Args:
            blocks: Number of blocks.
        """
        super().__init__()
        self._blocks = blocks

    @no_annotations
    def expand(
        self, inputs: Mapping[str, beam.PCollection]
    ) -> tuple[beam.PCollection, beam.PCollection]:
        """Takes vectors and ids; returns the chunks and the dead letters."""
        blocks = self._blocks
        keyed = {
            "vectors": inputs["vectors"]
            | "key vectors" >> beam.Map(lambda pair: (block_of(pair[0], blocks), pair))
        }
        if "clips" in inputs:
            keyed["clips"] = inputs["clips"] | "key clips" >> beam.Map(
                lambda utterance_id: (block_of(utterance_id, blocks), utterance_id)
            )
        made = (
            keyed
            | beam.CoGroupByKey()
            | beam.ParDo(_FormBlock()).with_outputs(LETTERS, main="chunks")
        )
        return made["chunks"], made[LETTERS]


class _FormBlock(beam.DoFn):
    """All that is known of a block's clips meets here, so doubled ids show."""

    def process(self, element: tuple[int, Mapping[str, Any]]) -> Iterator[Chunk]:
        block, groups = element
        vectors = sorted(groups["vectors"])
        of_embeddings = Counter(utterance_id for utterance_id, _ in vectors)
        of_features = Counter(groups["clips"]) if "clips" in groups else None
        fit = []
        for utterance_id, vector in vectors:
            reason = None
            if of_embeddings[utterance_id] > 1:
                reason = f"its id is on {of_embeddings[utterance_id]} embeddings"
            elif of_features is not None and of_features[utterance_id] != 1:
                reason = f"has {of_features[utterance_id]} records of features, not one"
            if reason:
                bad = BadRecordError(reason, utterance_id=utterance_id)
                yield dead_letter(_STAGE, bad)  # type: ignore[misc]  # not the main output
            else:
                fit.append((utterance_id, vector))
        count("clips", len(fit))
        for start in range(0, len(fit), _CHUNK):
            ids, values = zip(*fit[start : start + _CHUNK], strict=True)
            yield block, list(ids), b"".join(values)


class PairBlocks(beam.PTransform):
    """Sends chunks to every pair of blocks that theirs takes part in, itself included."""

    def __init__(self, blocks: int) -> None:
        """Sets how many.

        Args:
            blocks: Number of blocks.
        """
        super().__init__()
        self._blocks = blocks

    def expand(self, chunks: beam.PCollection[Chunk]) -> beam.PCollection:
        """Takes chunks; returns for each pair of blocks, the lower first, their chunks."""
        blocks = self._blocks

        def to_pairs(chunk: Chunk) -> Iterator[tuple[tuple[int, int], Chunk]]:
            for other in range(blocks):
                yield (min(chunk[0], other), max(chunk[0], other)), chunk

        return chunks | beam.FlatMap(to_pairs) | beam.GroupByKey()
