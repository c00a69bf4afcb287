"""The pipeline from a manifest to features and embeddings."""

from collections.abc import Sequence

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.beam.audio import ReadAudio
from ser_nsl.beam.embeddings import SAMPLE_RATE_HZ, ExtractEmbeddings
from ser_nsl.beam.features import ExtractFeatures
from ser_nsl.beam.letters import WriteLetters
from ser_nsl.beam.manifest import ReadManifest, read_columns
from ser_nsl.beam.pipeline import run_pipeline
from ser_nsl.beam.shards import WriteRecords, remove_empty_splits
from ser_nsl.corpora.manifest import SPLITS


def make_records(
    *,
    manifest: str,
    audio_dir: str,
    upstream: str,
    out: str,
    layer: int | None,
    clip_seconds: float | None,
    window_seconds: float,
    front_end: FrontEndConfig,
    splits: Sequence[str],
    shards: int,
    runner: str,
    beam_options: Sequence[str],
) -> dict[str, int]:
    """Makes OUT/features of all clips and OUT/embeddings of those of some splits.

    The settings are those of `ser_nsl.beam.run.beam_graph`.

    Returns:
        What was counted.

    Raises:
        InputError: If the manifest as a whole breaks a rule, or the upstream cannot be used.
    """
    features, embeddings = (FileSystems.join(out, name) for name in ("features", "embeddings"))
    columns = read_columns(manifest)

    def construct(pipeline: beam.Pipeline) -> None:
        clips, summary, letters = pipeline | "manifest" >> ReadManifest(manifest, columns)
        sounds, unread = clips | "audio" >> ReadAudio(audio_dir, front_end.sample_rate_hz)
        letters = [letters, unread]
        records, description = sounds | "features" >> ExtractFeatures(
            front_end, clip_seconds, summary
        )
        _write(records, features, SPLITS, shards)
        _ = description | "write description" >> beam.io.WriteToText(
            FileSystems.join(features, "description.json"), shard_name_template=""
        )
        if front_end.sample_rate_hz != SAMPLE_RATE_HZ:
            sounds, unread = clips | "audio for the upstream" >> ReadAudio(
                audio_dir, SAMPLE_RATE_HZ
            )
            letters.append(unread)
        vectors = (
            sounds
            | beam.Filter(lambda sound: sound[0].split in splits)
            | "embeddings"
            >> ExtractEmbeddings(
                upstream,
                layer=layer,
                clip_seconds=clip_seconds,
                window_seconds=window_seconds,
                summary=summary,
            )
        )
        _write(vectors, embeddings, splits, shards)
        prefix = FileSystems.join(out, "dead_letters", "clips")
        _ = letters | beam.Flatten() | "write letters" >> WriteLetters(prefix)

    counted = run_pipeline(construct, runner, beam_options)
    remove_empty_splits(features, SPLITS)
    remove_empty_splits(embeddings, splits)
    return counted


def _write(records: beam.PCollection, folder: str, splits: Sequence[str], shards: int) -> None:
    """Writes pairs of split and keyed record, each split to shards of its own."""
    for split in splits:
        _ = (
            records
            | f"{split} of {folder}" >> beam.Filter(lambda pair, split: pair[0] == split, split)
            | f"records of {split} of {folder}" >> beam.Values()
            | f"write {split} to {folder}" >> WriteRecords(folder, split, shards)
        )
