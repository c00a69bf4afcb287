"""The audio of clips, from any file system."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems
from apache_beam.typehints.decorators import no_annotations

from ser_nsl.audio.clip import read_audio
from ser_nsl.beam.letters import LETTERS, BadRecordError, with_letters
from ser_nsl.beam.manifest import Clip
from ser_nsl.errors import InputError

Sound = tuple[Clip, np.ndarray]
"""A clip and its samples, float32 and mono, shape `(samples,)`."""


class ReadAudio(beam.PTransform):
    """Decodes clips: pairs of clip and samples, and dead letters."""

    def __init__(self, audio_dir: str, sample_rate_hz: int) -> None:
        """Sets where from.

        Args:
            audio_dir: Audio root on any file system.
            sample_rate_hz: Sample rate of the result.
        """
        super().__init__()
        self._reader = _Read(audio_dir, sample_rate_hz)

    @no_annotations
    def expand(
        self, clips: beam.PCollection[Clip]
    ) -> tuple[beam.PCollection[Sound], beam.PCollection]:
        """Takes clips; returns them with their samples, and the dead letters."""
        made = clips | beam.ParDo(self._reader).with_outputs(LETTERS, main="sounds")
        return made["sounds"], made[LETTERS]


class _Read(beam.DoFn):
    def __init__(self, audio_dir: str, sample_rate_hz: int) -> None:
        super().__init__()
        self._audio_dir, self._sample_rate_hz = audio_dir, sample_rate_hz

    def process(self, clip: Clip) -> Iterator[Sound]:
        yield from with_letters(f"decoding at {self._sample_rate_hz} Hz", self._read(clip))

    def _read(self, clip: Clip) -> Iterator[Sound]:
        path = FileSystems.join(self._audio_dir, clip.path)
        identity = {"utterance_id": clip.utterance_id, "where": path}
        if not FileSystems.exists(path):
            raise BadRecordError("does not exist", **identity)
        # libsndfile wants a file, and on a cluster the audio seldom lies on the worker's own disk.
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / Path(clip.path).name
            with FileSystems.open(path, compression_type="uncompressed") as opened:
                copy.write_bytes(opened.read())
            try:
                samples = read_audio(copy, sample_rate_hz=self._sample_rate_hz)
            except InputError as error:
                if isinstance(error.__cause__, OSError):
                    raise  # the disk is at fault, not the clip
                reason = str(error).removeprefix(f"{copy}: ").replace(str(copy), clip.path)
                raise BadRecordError(reason, **identity) from error
        yield clip, samples
