import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_nsl.audio import foreign
from ser_nsl.audio.clip import read_audio
from ser_nsl.errors import InputError

TONE = np.sin(np.arange(16_000) / 5) / 2
MP4 = b"\0\0\0\x1cftypM4A and so on"


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """Puts a script in place of ffmpeg; it finds the clip at `$clip`."""
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    soundfile.write(tmp_path / "sound.wav", TONE, 16_000, subtype="FLOAT")
    wav = bytearray((tmp_path / "sound.wav").read_bytes())
    wav[4:8] = wav[wav.index(b"data") + 4 : wav.index(b"data") + 8] = b"\xff" * 4  # as on a pipe
    (tmp_path / "sound.wav").write_bytes(wav)
    monkeypatch.setenv("PATH", f"{program.parent}:/bin:/usr/bin")

    def write(script: str) -> Path:
        program.write_text(f"#!/bin/sh\nclip={tmp_path}/sound.wav\n{script}\n")
        program.chmod(0o755)
        return program

    return write


def write(path: Path, data: bytes = MP4) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["memo.m4a", "memo.wav", "-i x.MP4", "http:x.webm"])
def test_recordings_of_phones_are_decoded_by_ffmpeg(name, ffmpeg, tmp_path):
    ffmpeg(f'echo "$@" > {tmp_path}/arguments; cat $clip')

    np.testing.assert_allclose(read_audio(write(tmp_path / name)), TONE, atol=1e-6)
    assert (
        f"-protocol_whitelist file -i file:{tmp_path}/{name} "
        in (tmp_path / "arguments").read_text()
    )


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "AIFF", "MP3"])
def test_what_libsndfile_reads_needs_no_ffmpeg_whatever_its_name(form, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    soundfile.write(tmp_path / "clip", TONE, 16_000, format=form)
    (tmp_path / "clip").rename(tmp_path / "clip.m4a")

    assert len(read_audio(tmp_path / "clip.m4a")) == pytest.approx(16_000, abs=1_200)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo moov atom not found >&2; exit 1", "ffmpeg: moov atom not found"),
        ("cat $clip; echo partial file >&2", "ffmpeg: partial file"),
        ("exit 3", "ffmpeg: status 3"),
        ("head -c 20000 $clip", None),
        ("echo no sound", "cannot be decoded"),
    ],
)
def test_what_ffmpeg_finds_is_told(script, reason, ffmpeg, tmp_path):
    ffmpeg(script)
    if reason is None:  # a size that was not written and a short file: all of it is taken
        assert len(read_audio(write(tmp_path / "memo.m4a"))) < len(TONE)
        return
    with pytest.raises(InputError, match=reason) as error:
        read_audio(write(tmp_path / "memo.m4a"))

    assert str(error.value).startswith(f"{tmp_path / 'memo.m4a'}: ")


def test_ffmpeg_has_limits_of_time_and_size(ffmpeg, tmp_path, monkeypatch):
    monkeypatch.setattr(foreign, "_MAX_SECONDS", 0.5)
    monkeypatch.setattr(foreign, "_MAX_BYTES", 100_000)
    started = time.monotonic()

    ffmpeg("sleep 600")
    with pytest.raises(InputError, match=r"longer than 0\.5 s"):
        read_audio(write(tmp_path / "memo.m4a"))
    ffmpeg("while true; do cat $clip; done")
    with pytest.raises(InputError, match=r"more than 4 GiB"):
        read_audio(write(tmp_path / "memo.m4a"))

    assert time.monotonic() - started < 60


def test_without_ffmpeg_the_next_step_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    for name in ("memo.m4a", "memo.wav"):
        with pytest.raises(InputError, match=r"install ffmpeg, or convert"):
            read_audio(write(tmp_path / name))


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg on the PATH")
@pytest.mark.parametrize(
    ("suffix", "codec"), [("m4a", "aac"), ("webm", "libopus"), ("mp4", "aac"), ("wma", "wmav2")]
)
def test_real_ffmpeg_decodes_whole_files_and_tells_cut_ones(suffix, codec, tmp_path):
    soundfile.write(tmp_path / "tone.wav", np.tile(TONE, 3), 16_000)
    clip = tmp_path / f"tone.{suffix}"
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "tone.wav", "-c:a", codec, clip]
    subprocess.run(command, check=True)

    assert len(read_audio(clip)) == pytest.approx(3 * len(TONE), rel=0.1)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    with pytest.raises(InputError, match=clip.name):
        read_audio(clip)
