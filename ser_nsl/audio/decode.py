"""From an audio file to samples: one way to read files, for training and device alike.

Nothing is allocated by what a header claims: the structure is checked first, and samples are
decoded block by block.
"""

import hashlib
import io
import os
import re
import stat
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from ser_nsl.audio.containers import DamagedError, check_structure, flac_digest, is_mp3
from ser_nsl.audio.foreign import decode_to_wav, is_foreign
from ser_nsl.audio.samples import MAX_CHANNELS, check_rate
from ser_nsl.errors import InputError

_MAX_BYTES = 2**32
_MAX_SAMPLES = 2**30  # of all channels, and at 16 kHz
_BLOCK_SAMPLES = 2**22
_SLOWEST_RATE_HZ = 16_000
_OGG_SURROUND = (0, 2, 1, 5, 3, 4)  # where left, right, centre, LFE and surround are in Ogg's 5.1
_CHECKED = ("WAV", "WAVEX", "AIFF", "SVX", "OGG", "FLAC")  # by their structure, or the decoder
_NEVER_WRITTEN = 0x7FFFF000  # this size, or a larger one, stands for one that is not known
_UNKNOWN_FRAMES = 2**63 - 1
_FLAC_BYTES = {"PCM_S8": 1, "PCM_16": 2, "PCM_24": 3}  # of a sample in the checksum
_POINTER = b"version https://git-lfs.github.com/spec/"


class _Sequential(soundfile.SoundFile):
    """Reads on without seeking, which block codecs and files of unknown length cannot."""

    def seekable(self) -> bool:
        return False


def decode(path: Path) -> tuple[np.ndarray, int]:
    """Decodes an audio file, whole or not at all.

    Args:
        path: The file.

    Returns:
        float32, shape `(samples, channels)`, in the order of the channels in WAV; and the sample
        rate in Hz.

    Raises:
        InputError: If the file is missing, no regular file, larger than 4 GiB or not audio; if
            sound is missing, or there are more than 2^30 samples; if its rate, channels or values
            cannot be used; if it needs ffmpeg, and there is none.
    """
    path = Path(path)
    data = _read(path)
    try:
        data = check_structure(decode_to_wav(path) if is_foreign(path, data[:16]) else data)
        if not is_mp3(data):
            return _decode(path, io.BytesIO(data))
        with tempfile.TemporaryDirectory() as folder:  # libsndfile knows MP3 by its path only
            copy = Path(folder) / "clip.mp3"
            copy.write_bytes(data)
            return _decode(path, os.fsencode(copy))
    except InputError:
        raise
    except DamagedError as error:
        raise InputError(f"{path}: {error}; copy it again or remove it.") from error
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        reason = getattr(error, "error_string", str(error)).removeprefix("Error : ").rstrip(".")
        raise InputError(
            f"{path}: cannot be decoded ({reason}), so it is damaged or no audio file; replace or "
            "remove it."
        ) from error
    except MemoryError as error:
        raise InputError(f"{path}: is too long for the memory; cut it into clips.") from error


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: is not a regular file; give the path of an audio file.")
        if status.st_size > _MAX_BYTES:
            raise InputError(f"{path}: is larger than 4 GiB; cut it into clips.")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: does not exist; check the path.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    if not data:
        raise InputError(f"{path}: is empty, or cut off at its start; copy it again or remove it.")
    if data.startswith(_POINTER):
        raise InputError(f"{path}: stands for a file that Git LFS holds; run git lfs pull.")
    return data


def _decode(path: Path, source: io.BytesIO | bytes) -> tuple[np.ndarray, int]:
    """Decodes what libsndfile reads."""
    with _Sequential(source) as file:
        rate, channels = file.samplerate, file.channels
        try:
            check_rate(rate)
        except InputError as error:
            raise InputError(f"{path}: {error} Replace or remove it.") from error
        if channels > MAX_CHANNELS:
            raise InputError(
                f"{path}: must have 1 to {MAX_CHANNELS} channels; received {channels}. Keep one."
            )
        most = _MAX_SAMPLES // max(channels, -(-_SLOWEST_RATE_HZ // rate))
        size = min(_BLOCK_SAMPLES // channels, file.frames)
        blocks = [np.zeros((0, channels), np.float32)]
        decoded, checksum = 0, hashlib.md5(usedforsecurity=False)
        named = flac_digest(source.getvalue()) if isinstance(source, io.BytesIO) else None
        while size and len(block := file.read(size, dtype="float32", always_2d=True)):
            blocks.append(block)
            decoded += len(block)
            if named:
                checksum.update(_flac_bytes(block, file.subtype))
            if decoded > most:
                hours = most / rate / 3600
                raise InputError(f"{path}: lasts more than {hours:.1f} h; cut it into clips.")
        _check_length(file, decoded)
        if named and checksum.digest() != named:
            raise DamagedError("is damaged (its samples have another checksum than it names)")
        samples = np.concatenate(blocks) if len(blocks) > 2 else blocks[-1]
        if file.format == "OGG" and channels == len(_OGG_SURROUND):
            samples = samples[:, _OGG_SURROUND]
        return samples, rate


def _flac_bytes(block: np.ndarray, subtype: str) -> bytes:
    """Samples as FLAC's checksum takes them."""
    width = _FLAC_BYTES[subtype]
    whole = (block * 2.0 ** (8 * width - 1)).astype("<i4")
    return whole.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()


def _check_length(file: soundfile.SoundFile, decoded: int) -> None:
    """Checks that all samples of a file were decoded, by what libsndfile notes of its header."""
    if file.format == "MP3":  # all of its frames were found, and some decoders count more
        return
    counted = [0 if file.frames == _UNKNOWN_FRAMES else file.frames]
    if file.format not in _CHECKED:
        notes = file.extra_info
        for claimed, held in re.findall(r": (\d+) \(should be (\d+)\)", notes):
            if _NEVER_WRITTEN > int(claimed) > int(held):
                raise DamagedError(
                    f"is cut off in the middle (its header counts {claimed} bytes, the file holds "
                    f"{held})"
                )
        if "truncated" in notes:
            raise DamagedError("is cut off in the middle")
        counted += map(int, re.findall(r"(?:[Ff]rames|Cols) +: (\d+)", notes))
    if max(counted) > decoded:
        raise DamagedError(
            f"is cut off in the middle (its header counts {max(counted)} samples, the file holds "
            f"{decoded})"
        )
