"""The audio of clips, from any file system."""

import tempfile
from functools import partial
from pathlib import Path

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems

from ser_nsl.audio.clip import read_audio
from ser_nsl.beam.dead_letters import BadRecordError, map_or_dead_letter
from ser_nsl.beam.manifest import Clip
from ser_nsl.corpora.manifest import DURATION_TOLERANCE_SECONDS
from ser_nsl.errors import InputError

Sound = tuple[Clip, np.ndarray]
"""A clip and its samples, float32 and mono, shape `(samples,)`."""


@beam.ptransform_fn
def decode_clips(
    clips: beam.PCollection, audio_dir: str, sample_rate_hz: int
) -> tuple[beam.PCollection, beam.PCollection]:
    """Reads the audio of clips.

    Args:
        clips: Clips of a manifest.
        audio_dir: Audio root on any file system.
        sample_rate_hz: Sample rate of the result.

    Returns:
        `Sound`s, and dead letters.
    """
    step = f"decoding at {sample_rate_hz} Hz"
    decode = partial(_decode, audio_dir=audio_dir, sample_rate_hz=sample_rate_hz)
    return clips | "decode" >> map_or_dead_letter(step, decode, Sound)


def _decode(clip: Clip, audio_dir: str, sample_rate_hz: int) -> Sound:
    path = FileSystems.join(audio_dir, clip.path)
    identity = {"utterance_id": clip.utterance_id, "where": path}
    if not FileSystems.exists(path):
        raise BadRecordError("does not exist", **identity)
    # libsndfile needs a local file, and on a cluster the audio is rarely on the worker's own disk.
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / Path(clip.path).name
        with FileSystems.open(path, compression_type="uncompressed") as file:
            copy.write_bytes(file.read())
        try:
            waveform = read_audio(copy, sample_rate_hz=sample_rate_hz)
        except InputError as error:
            if isinstance(error.__cause__, OSError):
                raise  # the disk failed, not the clip
            reason = str(error).removeprefix(f"{copy}: ").replace(str(copy), clip.path)
            raise BadRecordError(reason, **identity) from error
    seconds = len(waveform) / sample_rate_hz
    if abs(clip.seconds - seconds) > DURATION_TOLERANCE_SECONDS:
        reason = f"lasts {seconds:g} s, by the manifest {clip.seconds:g} s"
        raise BadRecordError(reason, **identity)
    return clip, waveform
