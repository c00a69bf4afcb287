import io
import os
import re
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_nsl.audio.decode import decode
from ser_nsl.errors import InputError

RATE = 16_000
NOISE = np.random.default_rng(0).normal(0, 0.1, 2 * RATE).clip(-1, 1)


def encoded(form: str, subtype: str | None = None, samples: np.ndarray = NOISE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=form, subtype=subtype)
    return file.getvalue()


@pytest.fixture
def decoded(tmp_path):
    def function(data: bytes, name: str = "clip.wav") -> np.ndarray:
        path = tmp_path / name
        path.write_bytes(data)
        return decode(path)[0]

    return function


def refusal(decoded, data: bytes, name: str = "clip.wav") -> str:
    with pytest.raises(InputError) as error:
        decoded(data, name)
    assert "\n" not in str(error.value)
    assert str(error.value).count(name) == 1
    return str(error.value)


def with_sizes(riff: int, data: int) -> bytes:
    clip = bytearray(encoded("WAV"))
    clip[4:8], clip[40:44] = struct.pack("<I", riff), struct.pack("<I", data)
    return bytes(clip)


WHOLE = len(encoded("WAV")) - 8


@pytest.mark.parametrize(
    ("riff", "data"),
    [
        (0, 0),
        (WHOLE, 0),
        (36, 0),
        (WHOLE + 8, WHOLE - 36),
        (0x7FFFFFFF, 0x7FFFFFDB),
        (0x7FFFF024, 0x7FFFF000),  # sox
        (0x80000024, 0x80000000),  # arecord
        (0xFFFFFFFF, 0xFFFFFFFF),  # ffmpeg
    ],
)
def test_sizes_that_were_never_written_are_those_of_the_file(riff, data, decoded):
    np.testing.assert_array_equal(decoded(with_sizes(riff, data)), decoded(encoded("WAV")))


@pytest.mark.parametrize("size", [0x7FFFF008, 0])
def test_aiff_of_a_pipe_is_read_to_its_end(size, decoded):
    clip = bytearray(encoded("AIFF"))
    place = clip.index(b"SSND") + 4
    clip[4:8] = clip[place : place + 4] = struct.pack(">I", size)

    np.testing.assert_array_equal(decoded(bytes(clip)), decoded(encoded("AIFF")))


@pytest.mark.parametrize(
    ("sizes", "found"),
    [
        ((WHOLE, WHOLE), "counts 64036 bytes of sound, the file holds 64000"),
        ((WHOLE, 0xFFFFFFF0), "counts 4294967280 bytes"),
        ((WHOLE, WHOLE // 2), "more than its header counts"),
    ],
)
def test_sizes_that_contradict_the_file_are_told(sizes, found, decoded):
    assert found in refusal(decoded, with_sizes(*sizes))


@pytest.mark.parametrize(("place", "size"), [(24, 4), (28, 4), (22, 2), (34, 2)])
def test_header_that_contradicts_itself_is_told(place, size, decoded):
    for subtype in ("PCM_16", "FLOAT", "ULAW"):
        clip = bytearray(encoded("WAV", subtype))
        value = int.from_bytes(clip[place : place + size], "little")
        clip[place : place + size] = (value * 2).to_bytes(size, "little")

        assert "damaged header" in refusal(decoded, bytes(clip))


@pytest.mark.parametrize(("codec", "subtype"), [(6, "DOUBLE"), (3, "ULAW"), (7, "PCM_16")])
def test_codec_of_another_width_is_told(codec, subtype, decoded):
    clip = bytearray(encoded("WAV", subtype))
    clip[20] = codec

    assert f"codec {codec} does not have" in refusal(decoded, bytes(clip))


@pytest.mark.parametrize(("form", "place"), [("WAV", 40), ("AU", 8)])
def test_sound_that_looks_like_text_is_no_chunk(form, place, decoded):
    file = io.BytesIO()
    tone = 0.05 * np.sin(np.arange(8_000) / 50) - 0.1  # bytes around "s"
    soundfile.write(file, tone, RATE, format=form, subtype="PCM_U8" if form == "WAV" else "PCM_S8")
    clip = bytearray(file.getvalue())
    order = "little" if form == "WAV" else "big"
    clip[place : place + 4] = (4_000).to_bytes(4, order)

    assert "4000 bytes more than its header counts" in refusal(decoded, bytes(clip))


@pytest.mark.parametrize(
    "chunk", [b"LIST\4\0\0\0INFO", b"LIST\xff\xff\0\0INFO", b"cue \4\0\0\0abcd", bytes(700)]
)
def test_chunks_and_zeros_after_the_sound_are_no_sound(chunk, decoded):
    clip = bytearray(encoded("WAV") + chunk)
    clip[4:8] = (len(clip) - 8).to_bytes(4, "little")

    np.testing.assert_array_equal(decoded(bytes(clip)), decoded(encoded("WAV")))


@pytest.mark.parametrize("bits", [8, 12, 24])
def test_width_that_does_not_fill_the_frames_is_told(bits, decoded):
    """The decoder would go by the width alone, and make noise of the clip."""
    clip = bytearray(encoded("WAV", "PCM_32"))
    clip[34:36] = bits.to_bytes(2, "little")

    assert f"of {bits} bits" in refusal(decoded, bytes(clip))


@pytest.mark.parametrize("form", ["WAV", "AIFF", "FLAC"])
def test_recordings_one_after_the_other_are_told(form, decoded):
    assert "several recordings" in refusal(decoded, 2 * encoded(form))


def test_a_chunk_after_the_sound_is_no_sound(decoded):
    info = (
        b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf58.29.100\0"
    )
    clip = encoded("WAV") + info + b"ID3 tags after the end"
    clip = clip[:4] + struct.pack("<I", WHOLE + len(info)) + clip[8:]

    assert len(decoded(clip)) == len(NOISE)
    assert len(decoded(encoded("WAV", samples=NOISE[:0]) + info)) == 0


CUTTABLE = [
    *[("WAV", each) for each in ("PCM_16", "FLOAT", "ULAW", "MS_ADPCM", "IMA_ADPCM", "GSM610")],
    *[
        ("AIFF", "PCM_16"),
        ("AU", "PCM_16"),
        ("CAF", "PCM_16"),
        ("CAF", "ALAC_16"),
        ("W64", "PCM_16"),
    ],
    *[("RF64", "PCM_16"), ("NIST", "PCM_16"), ("VOC", "PCM_16"), ("SVX", "PCM_16")],
    *[("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")],
]


@pytest.mark.parametrize(("form", "subtype"), CUTTABLE)
def test_formats_are_decoded_whole_or_told_as_cut(form, subtype, decoded):
    clip = encoded(form, subtype)

    assert len(NOISE) <= len(decoded(clip)) <= len(NOISE) + 1000  # codecs fill their last block
    for size in (len(clip) - 9, len(clip) * 2 // 3):
        assert re.search("cut off|damaged", refusal(decoded, clip[:size]))


def test_the_name_decides_nothing(decoded):
    for name in ("clip.raw", "clip.vox", "clip.gsm", "clip.mp3", "clip", os.fsdecode(b"\xff.wav")):
        assert len(decoded(encoded("FLAC"), name)) == len(NOISE)
        assert "cannot be decoded" in refusal(decoded, b"no sound at all" * 100, name)


def test_what_a_header_claims_costs_nothing(decoded):
    flac = bytearray(encoded("FLAC"))
    flac[21] |= 0x0F
    flac[22:26] = b"\xff" * 4  # 2^36 samples
    mp3 = bytearray(encoded("MP3"))
    place = mp3.index(b"Xing") + 8
    mp3[place : place + 4] = b"\x08\0\0\0"
    tracemalloc.start()

    assert "68719476735" in refusal(decoded, bytes(flac))
    assert "134217728 MP3 frames" in refusal(decoded, bytes(mp3))

    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_flac_of_unknown_length_is_read_to_its_end(decoded):
    flac = bytearray(encoded("FLAC"))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)

    np.testing.assert_array_equal(decoded(bytes(flac)), decoded(encoded("FLAC")))


@pytest.mark.parametrize("place", range(18, 26))
def test_flac_with_another_rate_or_length_than_its_frames_is_told(place, decoded, tmp_path):
    whole = tmp_path / "whole.flac"
    whole.write_bytes(encoded("FLAC"))
    samples, rate = decode(whole)
    for bit in range(8):
        flac = bytearray(encoded("FLAC"))
        flac[place] ^= 1 << bit
        try:
            found, found_rate = decoded(bytes(flac)), decode(tmp_path / "clip.wav")[1]
        except InputError:
            continue
        assert found_rate == rate
        np.testing.assert_array_equal(found, samples)


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("rate", [1_001, 8_000, 12_345, 44_100, 48_000, 96_000, 655_350])
def test_flac_of_any_rate_and_width_has_its_own_checksum(rate, subtype, decoded):
    noise = np.random.default_rng(rate).uniform(-1, 1, (5_000, 2))
    file = io.BytesIO()
    soundfile.write(file, noise, rate, format="FLAC", subtype=subtype)
    flac = bytearray(file.getvalue())
    assert any(flac[26:42])
    found = decoded(bytes(flac))
    assert len(found) == len(noise)

    flac[26:42] = bytes(16)  # as encoders leave it that write to a pipe
    np.testing.assert_array_equal(decoded(bytes(flac)), found)
    flac[26:42] = bytes(range(16))
    assert "another checksum" in refusal(decoded, bytes(flac))


def mp3_frames(clip: bytes) -> list[bytes]:
    starts = [match.start() for match in re.finditer(re.escape(clip[:2]), clip)]
    return [clip[a:b] for a, b in zip(starts, [*starts[1:], len(clip)], strict=True)]


def variable_mp3() -> bytes:
    file = io.BytesIO()
    samples = NOISE * np.repeat([0.001, 1], RATE)  # the first frames are the shortest
    with soundfile.SoundFile(
        file, "w", RATE, 1, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5
    ) as mp3:
        mp3.write(samples)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["Fraunhofer", "damaged"])
def test_mp3_whose_count_libsndfile_does_not_know_is_read_to_its_end(kind, decoded):
    clip = variable_mp3()
    first, *others = mp3_frames(clip)
    count = {
        "Fraunhofer": first[:4] + bytes(32) + b"VBRI" + bytes(10) + len(others).to_bytes(4, "big"),
        "damaged": first[:8] + b"\1" + first[9:],
    }[kind]
    data = count.ljust(len(first), b"\0") + b"".join(others)

    assert len(NOISE) <= len(decoded(data)) < len(NOISE) + 3000
    assert "counts" in refusal(decoded, data[: -len(others[-1]) - len(others[-2])])


def test_mp3_without_a_count_is_read_to_its_end(decoded):
    clip = variable_mp3()
    uncounted = clip[clip.index(clip[:2], 4) :]  # without its first frame, which counts
    tags = b"ID3\3\0\0\0\0\1\0" + bytes(128)

    assert len(decoded(clip)) == len(NOISE)
    for data in (uncounted, tags + uncounted + b"TAG" + bytes(125)):
        assert len(NOISE) <= len(decoded(data)) < len(NOISE) + 3000
    assert "cut off" in refusal(decoded, uncounted[:-9])


def test_mp3_with_a_hole_or_joined_from_two_is_told(decoded):
    clip = variable_mp3()

    assert "damaged" in refusal(decoded, clip[:3000] + clip[3100:])
    assert "damaged" in refusal(decoded, clip[:2] + bytes([clip[2] ^ 0x04]) + clip[3:])  # its rate
    assert "joined" in refusal(decoded, clip + clip)


def test_ogg_that_lacks_a_page_or_has_two_recordings_is_told(decoded):
    for subtype in ("VORBIS", "OPUS"):
        clip = encoded("OGG", subtype, np.tile(NOISE, 3))
        starts = [match.start() for match in re.finditer(b"OggS", clip)]
        flipped = bytearray(clip)
        flipped[starts[4] + 200] ^= 1

        assert "lacks a part" in refusal(decoded, clip[: starts[3]] + clip[starts[4] :])
        assert "damaged" in refusal(decoded, bytes(flipped))
        assert "several recordings" in refusal(decoded, clip + clip)


def test_pipes_and_folders_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()

    for name in ("pipe.wav", "folder.wav"):
        with pytest.raises(InputError, match=rf"{name}: is not a regular file"):
            decode(Path(tmp_path / name))
