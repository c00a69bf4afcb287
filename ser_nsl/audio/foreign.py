"""Recordings of phones and browsers (M4A, MP4, WebM, 3GP, AMR, WMA, ...), decoded by ffmpeg."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

from ser_nsl.errors import InputError

SUFFIXES = (
    *(".m4a", ".m4b", ".mp4", ".mov", ".3gp", ".3g2", ".aac", ".amr", ".awb"),
    *(".webm", ".mka", ".mkv", ".wma"),
)
"""Suffixes of files that only ffmpeg decodes."""

_BEGINNINGS = re.compile(
    rb"....(ftyp|moov|mdat|wide)|\x1aE\xdf\xa3|#!AMR|\x30\x26\xb2\x75\x8e\x66|\xff[\xf0\xf1\xf8\xf9]",
    re.DOTALL,
)  # of MP4 and its kin, Matroska, AMR, ASF, AAC
_OTHERS = re.compile(rb"RIF[FX]|RF64|FORM|fLaC|OggS|caff|\.snd|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")
_MAX_BYTES = 2**32
_MAX_SECONDS = 300


def is_foreign(path: Path, beginning: bytes) -> bool:
    """Returns whether a file, by its first bytes or else by its name, is one for ffmpeg."""
    if _OTHERS.match(beginning):  # what libsndfile reads, under a wrong name
        return False
    return path.suffix.lower() in SUFFIXES or bool(_BEGINNINGS.match(beginning))


def decode_to_wav(path: Path) -> bytes:
    """Decodes the first audio track of a file with the ffmpeg on the PATH.

    Args:
        path: The file; it is opened as a file whatever its name, and opens no others.

    Returns:
        A WAV file of float32 samples, with the rate and channels of the track.

    Raises:
        InputError: If there is no ffmpeg; if it finds a fault, or takes longer than 300 s; or if
            the sound has more than 4 GiB.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise InputError(
            f"{path}: needs ffmpeg to be decoded, and there is none on the PATH; install ffmpeg, "
            "or convert the file to WAV."
        )
    command = [program, "-nostdin", "-v", "error", "-protocol_whitelist", "file"]
    source = b"file:" + os.fsencode(path)  # names need not be UTF-8
    output = ["-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "wav", "-"]
    with tempfile.TemporaryFile() as log:
        wav, status = _run([*command, "-i", source, *output], log.fileno())
        log.seek(0)
        complaints = log.read(1000).decode(errors="replace").strip().splitlines()
    if len(wav) > _MAX_BYTES:
        raise InputError(f"{path}: holds more than 4 GiB of sound; cut it into clips.")
    if status == -signal.SIGKILL:
        raise InputError(f"{path}: ffmpeg took longer than {_MAX_SECONDS} s; convert it to WAV.")
    if status or complaints:
        reason = complaints[0] if complaints else f"status {status}"
        raise InputError(
            f"{path}: is cut off or damaged, or has no sound (ffmpeg: {reason}); copy it again or "
            "remove it."
        )
    return wav


def _run(command: list[str | bytes], log: int) -> tuple[bytes, int]:
    """Runs a command; returns its output, a byte more than the limit at most, and its status."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,
    ) as process:

        def stop() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it started holds the pipe open too

        timer = threading.Timer(_MAX_SECONDS, stop)
        timer.start()
        try:
            output = process.stdout.read(_MAX_BYTES + 1) if process.stdout else b""
            if len(output) > _MAX_BYTES:
                stop()
            return output, process.wait()
        finally:
            timer.cancel()
            if process.returncode is None:
                stop()
