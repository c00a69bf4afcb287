"""The pipeline from a manifest to features and embeddings."""

from collections.abc import Sequence

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from ser_nsl.audio.clip import SAMPLE_RATE_HZ
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.beam.audio import decode_clips
from ser_nsl.beam.dead_letters import write_dead_letters
from ser_nsl.beam.embeddings import embed
from ser_nsl.beam.features import compute_features
from ser_nsl.beam.manifest import read_columns, read_manifest
from ser_nsl.beam.record_folders import DESCRIPTION_NAME, remove_empty_splits, write_records
from ser_nsl.beam.runner import Job, run_beam
from ser_nsl.corpora.manifest import SPLITS
from ser_nsl.upstream.encoder import Pooling


def make_records(
    job: Job,
    *,
    manifest: str,
    audio_dir: str,
    upstream: str,
    layers: tuple[int, ...] | None,
    pooling: Pooling,
    clip_seconds: float | None,
    window_seconds: float,
    front_end: FrontEndConfig,
) -> dict[str, int]:
    """Makes OUT/features of all clips and OUT/embeddings of those of the job's splits.

    The other settings are those of `ser_nsl.beam.run.beam_graph`.

    Returns:
        All counters.

    Raises:
        InputError: If the manifest as a whole breaks a rule, or the upstream cannot be used.
    """
    features, embeddings = (job.path(name) for name in ("features", "embeddings"))
    columns = read_columns(manifest)

    def construct(pipeline: beam.Pipeline) -> None:
        clips, summary, bad_rows = pipeline | "manifest" >> read_manifest(manifest, columns)
        sounds, undecoded = clips | "audio" >> decode_clips(audio_dir, front_end.sample_rate_hz)
        letters = [bad_rows, undecoded]
        records, description = sounds | "features" >> compute_features(
            summary, front_end=front_end, clip_seconds=clip_seconds
        )
        _write_splits(records, features, SPLITS, job.shards)
        _ = description | "write description" >> beam.io.WriteToText(
            FileSystems.join(features, DESCRIPTION_NAME), shard_name_template=""
        )
        if front_end.sample_rate_hz != SAMPLE_RATE_HZ:
            sounds, undecoded = clips | "audio for the upstream" >> decode_clips(
                audio_dir, SAMPLE_RATE_HZ
            )
            letters.append(undecoded)
        vectors = (
            sounds
            | beam.Filter(lambda sound: sound[0].split in job.splits)
            | "embeddings"
            >> embed(
                summary,
                upstream=upstream,
                layers=layers,
                pooling=pooling,
                clip_seconds=clip_seconds,
                window_seconds=window_seconds,
            )
        )
        _write_splits(vectors, embeddings, job.splits, job.shards)
        write_dead_letters(letters, job.path("dead_letters", "clips"))

    counted = run_beam(job, construct)
    remove_empty_splits(features, SPLITS)
    remove_empty_splits(embeddings, job.splits)
    return counted


def _write_splits(
    records: beam.PCollection, folder: str, splits: Sequence[str], shards: int
) -> None:
    """Writes pairs of split and record, each split to its own shards."""
    for split in splits:
        _ = (
            records
            | f"{split} of {folder}" >> beam.Filter(lambda pair, split: pair[0] == split, split)
            | f"records of {split} of {folder}" >> beam.Values()
            | f"write {split} to {folder}" >> write_records(folder, split, shards)
        )
