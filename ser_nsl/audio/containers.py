"""Audio files as bytes: whether all of the sound is there, and sizes that were never written.

libsndfile decodes what it finds, and does not say whether that is what was recorded. Here the
structure of WAV, AIFF, AU, NIST, FLAC, Ogg and MP3 is walked from end to end, without decoding.
"""

import functools
import itertools
import math
import re
import zlib
from typing import Literal

_FORMS: dict[bytes, Literal["little", "big"]] = {b"RIFF": "little", b"RIFX": "big", b"FORM": "big"}
_AU: dict[bytes, Literal["little", "big"]] = {b".snd": "big", b"dns.": "little"}
_SOUND_CHUNKS = (b"data", b"SSND", b"BODY")  # of WAV, AIFF and 8SVX
_TEXT_CHUNKS = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"_PMX")
_NEVER_WRITTEN = (0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)  # by recorders that could not go back
_NEVER_REACHED = 0x7FFFF000  # what sox and others write first, in both of the sizes
_EQUAL_FRAMES = (1, 3, 6, 7, 0xFFFE)  # PCM, float, A-law, mu-law, and those with a channel mask
_BITS = {3: (32, 64), 6: (8,), 7: (8,)}
_MP3_IN_WAV = 0x55
_JOINED = "holds several recordings, one after the other; split it"

_FLAC_RATES = dict(
    enumerate(
        (88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000), 1
    )
)
_FLAC_SYNC = 0xFF, 0xF8
_FLAC_DIGEST = slice(26, 42)

_OGG_HEADER_BYTES = 27  # the last of them is the number of segments
_FIRST_PAGE, _LAST_PAGE = 2, 4
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

# MPEG 1, then MPEG 2 and 2.5; the first entry means a free bit rate.
_KILOBITS = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_MPEG_1, _LAYER_3, _MONO = 3, 1, 3
_LAYER_3_SYNC = rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]"
_SAME_STREAM = 0xFFFE0C00  # sync, version, layer and rate of a frame header
_BITRATE = 0xF000
_COUNT_BITRATE = 9  # long enough for the frame that counts the others


class DamagedError(ValueError):
    """The file does not hold the sound that its structure announces."""


def check_structure(data: bytes) -> bytes:
    """Checks that all sound is there, and fills in sizes that the recorder left open.

    Args:
        data: A file of any kind; only WAV, AIFF, 8SVX, AU, NIST, FLAC, Ogg and MP3 are checked.

    Returns:
        The same bytes; or those of a file with the same sound in which a size that was never
        written is that of the file, MP3 frames that nothing counts are counted, and MP3 is no
        longer wrapped in WAV.

    Raises:
        DamagedError: If sound is missing, or there is more than the header counts.
    """
    if data[:4] in _FORMS:
        return _check_chunks(data, _FORMS[data[:4]])
    if data[:4] in _AU:
        _check_au(data, _AU[data[:4]])
        return data
    if data[:7] == b"NIST_1A":
        _check_sphere(data)
        return data
    if data[:4] == b"fLaC":
        _check_flac(data)
        return data
    if data[:4] == b"OggS":
        _check_pages(data)
        return data
    return _check_frames(data)


def is_mp3(data: bytes) -> bool:
    """Returns whether a file begins with an MP3 frame, after tags."""
    return _frame_length(data, _first_frame(data)) > 0


def flac_digest(data: bytes) -> bytes | None:
    """Returns the MD5 of all samples that a FLAC file names; None for others, or if it has none."""
    digest = data[_FLAC_DIGEST] if data[:4] == b"fLaC" else b""
    return digest if any(digest) else None


def _check_flac(data: bytes) -> None:
    """Checks that a FLAC file is one recording, of whose rate header and first frame agree."""
    if b"fLaC" in data[4:]:
        raise DamagedError(_JOINED)
    at, is_last = 4, False
    while not is_last and at < len(data):
        is_last = data[at] >= 0x80
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")
    frame = data[at : at + 16]
    if len(frame) < 16 or (frame[0], frame[1] & 0xFE) != _FLAC_SYNC:
        return  # libsndfile says what is missing
    number = max(1, f"{frame[4]:08b}".find("0"))  # bytes, as those of a character in UTF-8
    size = {6: 1, 7: 2}.get(frame[2] >> 4, 0)
    field = frame[4 + number + size :]
    hertz = int.from_bytes(field[:2], "big")
    told = _FLAC_RATES | {12: 1_000 * field[0], 13: hertz, 14: 10 * hertz}
    rate = int.from_bytes(data[18:21], "big") >> 4
    if told.get(frame[2] & 0xF, rate) != rate:
        raise DamagedError(
            f"has a damaged header (it has a rate of {rate} Hz, the first frame of "
            f"{told[frame[2] & 0xF]} Hz)"
        )


def _check_chunks(data: bytes, order: Literal["little", "big"]) -> bytes:
    """Checks the chunk of sound of a RIFF or IFF file."""

    def size(at: int) -> int:
        return int.from_bytes(data[at + 4 : at + 8], order)

    def is_chunk(at: int) -> bool:
        return bool(re.match(rb"[ -~]{4}", data[at : at + 4])) and at + 8 + size(at) <= len(data)

    at, codec = 12, 0
    while data[at : at + 4] not in _SOUND_CHUNKS and is_chunk(at):
        if data[at : at + 4] == b"fmt ":
            codec = int.from_bytes(data[at + 8 : at + 10], order)
            _check_format(data[at + 8 : at + 24], order)
        at += 8 + size(at) + size(at) % 2
    if data[at : at + 4] not in _SOUND_CHUNKS:
        return data  # libsndfile says what is missing
    start, counted, held = at + 8, size(at), len(data) - at - 8
    if counted > held or (counted == 0 and held and not is_chunk(start)):
        if counted not in _NEVER_WRITTEN and min(counted, size(0)) < _NEVER_REACHED:
            raise DamagedError(
                f"is cut off in the middle (its header counts {counted} bytes of sound, the file "
                f"holds {held})"
            )
        if held > 0:
            filled = [data[:4], (len(data) - 8).to_bytes(4, order), data[8 : at + 4]]
            data = b"".join([*filled, held.to_bytes(4, order), data[start:]])
    else:
        end = size(0) + 8
        _check_rest(data[start + counted : end], order)
        if data[end : end + 4] in _FORMS:
            raise DamagedError(_JOINED)
    return _check_frames(data[start : start + size(at)]) if codec == _MP3_IN_WAV else data


def _check_format(fields: bytes, order: Literal["little", "big"]) -> None:
    """Checks that the rates and widths of WAV without blocks agree."""
    sizes = (2, 2, 4, 4, 2, 2)
    ends = itertools.accumulate(sizes)
    codec, channels, rate, bytes_a_second, frame, bits = (
        int.from_bytes(fields[end - size : end], order)
        for size, end in zip(sizes, ends, strict=True)
    )
    if codec not in _EQUAL_FRAMES or not channels:
        return
    if bits and bits not in _BITS.get(codec, (bits,)):
        raise DamagedError(f"has a damaged header (codec {codec} does not have {bits} bits)")
    width = -(-bits // 8)  # what libsndfile reads of a frame, whatever its size
    if (bits and frame != channels * width) or bytes_a_second not in (0, rate * frame):
        raise DamagedError(
            f"has a damaged header ({channels} channels of {bits} bits at {rate} Hz are not "
            f"{bytes_a_second} bytes a second)"
        )


def _check_rest(rest: bytes, order: Literal["little", "big"] | None = None) -> None:
    """Checks that zeros or another chunk, where there are chunks, and no sound follow the sound."""
    chunk = re.match(rb"\0?([ -~]{4})(.{4})", rest, re.S) if order else None
    if order and chunk:  # that it fits tells it from sound; some write the size of text wrong
        size = int.from_bytes(chunk[2], order)
        if chunk[1] in _TEXT_CHUNKS or size <= len(rest) - chunk.end():
            return
    if len(rest) > 8 and rest.strip(b"\0"):
        raise DamagedError(f"holds {len(rest)} bytes more than its header counts as sound")


def _check_au(data: bytes, order: Literal["little", "big"]) -> None:
    """Checks that no sound follows that which the header of an AU file counts."""
    start, counted = (int.from_bytes(data[at : at + 4], order) for at in (4, 8))
    if counted not in _NEVER_WRITTEN:
        _check_rest(data[start + counted :])


def _check_sphere(data: bytes) -> None:
    """Checks the samples that a NIST SPHERE header counts."""
    size = re.match(rb"NIST_1A\s+(\d+)", data)
    fields = dict(re.findall(rb"(sample_count|channel_count|sample_n_bytes) -i (\d+)", data[:1024]))
    counted = math.prod(map(int, fields.values()))
    if size and len(fields) == 3 and counted > len(data) - int(size[1]):
        raise DamagedError(f"is cut off in the middle (its header counts {counted} bytes of sound)")


def _check_pages(data: bytes) -> None:
    """Checks that each stream of an Ogg file has all its pages (RFC 3533, section 6)."""
    pages: dict[bytes, int] = {}
    unfinished: set[bytes] = set()
    at = 0
    while data[at : at + 4] == b"OggS":
        header = data[at : at + _OGG_HEADER_BYTES]
        body = at + _OGG_HEADER_BYTES + (header[-1] if len(header) == _OGG_HEADER_BYTES else 0)
        end = body + sum(data[at + _OGG_HEADER_BYTES : body])
        if len(header) < _OGG_HEADER_BYTES or end > len(data):
            raise DamagedError("is cut off in the middle")
        flags, stream, page = header[5], header[14:18], int.from_bytes(header[18:22], "little")
        if flags & _FIRST_PAGE:
            if pages and not unfinished:
                raise DamagedError(_JOINED)
            unfinished.add(stream)
        elif page != pages.get(stream, -1) + 1:
            raise DamagedError(f"lacks a part of its sound (before page {page})")
        checked = header[:22] + bytes(4) + data[at + 26 : end]
        if _page_checksum(checked) != int.from_bytes(header[22:26], "little"):
            raise DamagedError(f"is damaged in the middle (page {page})")
        pages[stream] = page
        if flags & _LAST_PAGE:
            unfinished.discard(stream)
        at = end
    if b"OggS" in data[at:]:
        raise DamagedError(f"is damaged in the middle (at byte {at})")
    if unfinished:
        raise DamagedError("is cut off in the middle")


def _page_checksum(page: bytes) -> int:
    """Returns Ogg's CRC: that of zlib without inversions, and with bits in the other order."""
    checksum = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{checksum:032b}"[::-1], 2)


def _check_frames(data: bytes) -> bytes:
    """Checks that an MP3 stream is whole; counts its frames where nothing else does.

    Without a count that it knows, libsndfile takes the first frame's bit rate for that of all; it
    does not know those of Fraunhofer's encoders.
    """
    first = at = _first_frame(data)
    header = _header(data, first)
    frames, bitrates = 0, set()
    while (length := _frame_length(data, at)) and not (_header(data, at) ^ header) & _SAME_STREAM:
        if at + length > len(data):
            raise DamagedError("is cut off in the middle of an MP3 frame")
        bitrates.add(_header(data, at) & _BITRATE)
        at += length
        frames += 1
    if not frames:
        return data
    rest = data[at:]
    if 0 < len(rest) < 4 and rest[0] == 0xFF:
        raise DamagedError("is cut off in the middle of an MP3 frame")
    if _holds_frames(rest):
        raise DamagedError(f"is damaged in the middle (at byte {at}, which begins no MP3 frame)")
    tag = re.search(rb"(?:Xing|Info)(....)(....)|VBRI.{10}(....)", data[first : first + 64], re.S)
    if tag is not None:
        flags = int.from_bytes(tag[1] or b"\1", "big")
        counted = int.from_bytes(tag[2] or tag[3], "big")
        if flags & 1 and abs(counted - (frames - 1)) > 1:  # some count the frame with the count too
            raise DamagedError(
                f"is cut off, or was joined from parts (its header counts {counted} MP3 frames, "
                f"the file holds {frames - 1})"
            )
    sound = first + 4 + _side_bytes(header)  # libsndfile finds the count here, after zeros
    is_counted = data[sound : sound + 4] in (b"Xing", b"Info") and not any(data[first + 6 : sound])
    if is_counted or len(bitrates) == 1:
        return data
    return _counting_frame(header, frames) + data[first:at]


def _first_frame(data: bytes) -> int:
    """Returns where MP3 frames would begin, after ID3 tags and padding."""
    at = 0
    while data[at : at + 3] == b"ID3" and len(data) >= at + 10:
        size = functools.reduce(
            lambda size, byte: size << 7 | byte & 0x7F, data[at + 6 : at + 10], 0
        )
        at += 10 + size + (10 if data[at + 5] & 0x10 else 0)
    while data[at : at + 1] == b"\0":
        at += 1
    return at


def _header(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _frame_length(data: bytes, at: int) -> int:
    """Returns the bytes of the MP3 frame at a place; 0 if none begins there."""
    header = _header(data, at)
    version, layer = header >> 19 & 3, header >> 17 & 3
    bitrate, rate, padding = header >> 12 & 15, header >> 10 & 3, header >> 9 & 1
    synchronous = header >> 21 == 0x7FF and len(data) >= at + 4
    if not synchronous or version not in _RATES or layer != _LAYER_3:
        return 0
    if bitrate in (0, 15) or rate == 3:
        return 0
    kilobits = _KILOBITS[version != _MPEG_1][bitrate]
    words = 144_000 if version == _MPEG_1 else 72_000
    return words * kilobits // _RATES[version][rate] + padding


def _holds_frames(data: bytes) -> bool:
    """Returns whether two MP3 frames of one stream follow each other somewhere."""
    for match in re.finditer(_LAYER_3_SYNC, data):
        at = match.start()
        following = at + _frame_length(data, at)
        of_one_stream = not (_header(data, at) ^ _header(data, following)) & _SAME_STREAM
        if following > at and of_one_stream and _frame_length(data, following):
            return True
    return False


def _side_bytes(header: int) -> int:
    """Returns the bytes between the header of an MP3 frame and its sound."""
    sides = (17, 32) if header >> 19 & 3 == _MPEG_1 else (9, 17)
    return sides[header >> 6 & 3 != _MONO]


def _counting_frame(header: int, frames: int) -> bytes:
    """Returns an MP3 frame without sound that tells decoders how many follow."""
    header = header & ~0xF200 | _COUNT_BITRATE << 12 | 0x10000  # no padding, no checksum
    start = header.to_bytes(4, "big")
    tag = b"Xing" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big")
    count = start + bytes(_side_bytes(header)) + tag
    return count.ljust(_frame_length(start, 0), b"\0")
