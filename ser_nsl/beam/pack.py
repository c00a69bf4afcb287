"""Training records: each labelled clip with the features of its neighbours.

Everything is joined by id, in three steps: which clips are labelled and what they need; what each
clip is needed for; and, back at the clips, what they got. Features travel as they were read.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.io.filesystem import FileMetadata
from apache_beam.typehints.decorators import no_annotations

from ser_nsl.audio.records import UNLABELLED
from ser_nsl.beam.edges import Neighbor
from ser_nsl.beam.letters import LETTERS, BadRecordError, count, dead_letter, with_letters
from ser_nsl.beam.shards import ReadRecords, parse

Clip = tuple[str, tuple[bool, bytes]]
"""The id of a clip, whether it has a label, and its record of features."""

_READING = "reading features"
_JOINING = "joining features by id"


class ReadClips(beam.PTransform):
    """Reads features: clips, and dead letters."""

    def __init__(self, files: Sequence[FileMetadata], logmel_shape: tuple[int, int]) -> None:
        """Sets what to read.

        Args:
            files: Features.
            logmel_shape: Frames and Mel bands.
        """
        super().__init__()
        self._files, self._size = files, logmel_shape[0] * logmel_shape[1]

    @no_annotations
    def expand(self, begin: beam.pvalue.PBegin) -> tuple[beam.PCollection, beam.PCollection]:
        """Takes the pipeline; returns the clips and the dead letters."""
        made = (
            begin
            | ReadRecords(self._files)
            | beam.ParDo(_Check(self._size)).with_outputs(LETTERS, main="clips")
        )
        return made["clips"], made[LETTERS]


class _Check(beam.DoFn):
    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def process(self, record: tuple[str, bytes]) -> Iterator[Clip]:
        yield from with_letters(_READING, self._check(*record))

    def _check(self, path: str, raw: bytes) -> Iterator[Clip]:
        utterance_id, example = parse(path, raw)
        feature = example.features.feature
        logmel = np.array(feature["logmel"].float_list.value, np.float32)
        label = feature["label"].int64_list.value
        reason = None
        if len(logmel) != self._size:
            reason = f"has {len(logmel)} numbers, not {self._size} as description.json tells"
        elif not np.isfinite(logmel).all():
            reason = "holds NaN or infinity"
        elif not label:
            reason = "has no label, not even the one that means there is none"
        if reason:
            raise BadRecordError(reason, utterance_id=utterance_id, where=path)
        yield utterance_id, (label[0] != UNLABELLED, raw)


class PackNeighbors(beam.PTransform):
    """Joins clips with their neighbours.

    It takes a mapping with `nearest`, pairs of source and its neighbours, and `clips`. It returns
    pairs of id and training record, as `nsl.tools.pack_nbrs` writes it, and dead letters. A clip
    without a label serves as a neighbour only.
    """

    @no_annotations
    def expand(
        self, inputs: Mapping[str, beam.PCollection]
    ) -> tuple[beam.PCollection, beam.PCollection]:
        """Takes neighbours and clips; returns the records and the dead letters."""
        labelled = inputs["clips"] | "labelled" >> beam.FlatMap(_if_labelled)
        wanted = (
            {"nearest": inputs["nearest"], "labelled": labelled}
            | "meet labels" >> beam.CoGroupByKey()
            | "want" >> beam.FlatMap(_wants)
        )
        met = (
            {"wanted": wanted, "clips": inputs["clips"]}
            | "meet features" >> beam.CoGroupByKey()
            | beam.ParDo(_HandOut()).with_outputs(LETTERS, "seeds", main="gifts")
        )
        packed = (
            {"seeds": met["seeds"], "gifts": met["gifts"]}
            | "meet seeds" >> beam.CoGroupByKey()
            | "pack" >> beam.FlatMap(_pack)
        )
        return packed, met[LETTERS]


def _if_labelled(clip: Clip) -> Iterator[tuple[str, None]]:
    utterance_id, (is_labelled, _) = clip
    if is_labelled:
        yield utterance_id, None


def _wants(
    element: tuple[str, Mapping[str, Iterable]],
) -> Iterator[tuple[str, tuple[str, float]]]:
    """Asks for the features of a labelled clip's neighbours, at the neighbours."""
    source, groups = element
    if any(True for _ in groups["labelled"]):
        for neighbors in groups["nearest"]:
            for weight, target in neighbors:
                yield target, (source, weight)


class _HandOut(beam.DoFn):
    """Gives a clip's features to all that want them."""

    def process(
        self, element: tuple[str, Mapping[str, Iterable]]
    ) -> Iterator[tuple[str, tuple[Neighbor, bytes]]]:
        utterance_id, groups = element
        clips = list(groups["clips"])
        if len(clips) > 1:
            reason = f"its id is on {len(clips)} records of features"
            bad = BadRecordError(reason, utterance_id=utterance_id)
            yield dead_letter(_JOINING, bad)  # type: ignore[misc]  # not the main output
            return
        ((is_labelled, features),) = clips
        if is_labelled:
            seed = beam.pvalue.TaggedOutput("seeds", (utterance_id, features))
            yield seed  # type: ignore[misc]  # not the main output
        else:
            count("unlabelled")
        for source, weight in groups["wanted"]:
            yield source, ((weight, utterance_id), features)


def _pack(element: tuple[str, Mapping[str, Iterable]]) -> Iterator[tuple[str, bytes]]:
    utterance_id, groups = element
    for seed in groups["seeds"]:
        example = tf.train.Example.FromString(seed)
        feature = example.features.feature
        gifts = sorted(groups["gifts"], reverse=True)
        feature["NL_num_nbrs"].int64_list.value.append(len(gifts))
        for i, ((weight, _), features) in enumerate(gifts):
            feature[f"NL_nbr_{i}_weight"].float_list.value.append(weight)
            for name, value in tf.train.Example.FromString(features).features.feature.items():
                feature[f"NL_nbr_{i}_{name}"].CopyFrom(value)
        count("labelled")
        count(f"clips with {len(gifts)} neighbors")
        yield utterance_id, example.SerializeToString(deterministic=True)
