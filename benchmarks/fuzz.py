"""Feeds damaged and odd files to everything that reads files, and counts what happens.

    python -m benchmarks.fuzz --out results/fuzz

Audio goes through `read_audio`, `predict` and `prepare-corpus`; text and records through
`prepare-corpus`, `extract-features`, `select-edges`, `pack-neighbors`, `build-graph`, the reader of
training and the readers of settings. Inputs are made on the spot from a seed. A file must be
answered right, or refused in one line that names it; the exit status is 1 if one is not.
"""

import contextlib
import functools
import gzip
import io
import json
import math
import os
import resource
import shutil
import signal
import struct
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from tabulate import tabulate

from ser_nsl.cli import run_function
from ser_nsl.errors import InputError

RATE = 16_000
_SECONDS_A_CASE = 60
_CODEC = (20, 21)  # bytes of a WAV file; in others the same two are left alone
_SHORTEST_SAMPLES = 512  # of a clip in a corpus
_MORE_BYTES = 4 * 2**30  # than what is in use before the first case

ANSWERED = "answered"
REFUSED = "refused in one line"
TRACEBACK = "traceback"
HANG = "hang"
WRONG = "accepted though wrong"
OVERCAUTIOUS = "refused though right"
OUTCOMES = (ANSWERED, REFUSED, TRACEBACK, HANG, WRONG, OVERCAUTIOUS)


@dataclass(frozen=True)
class Case:
    """An input.

    Attributes:
        kind: Row of the table.
        name: Name of the file, as a message must show it.
        write: Writes the input to a path.
        read: Reads it; what it returns is judged.
        right: Whether an answer is right; None if none is.
        needed: Whether a refusal is wrong.
    """

    kind: str
    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], Any]
    right: Callable[[Any], bool] | None = None
    needed: bool = False


def main(*, out: Path | None = None, seed: int = 0, only: str = "") -> str:
    """Runs all cases.

    Args:
        out: Folder for `fuzz.md` and `fuzz.json`.
        seed: Seed of the inputs.
        only: Beginning of the kinds to run.

    Raises:
        SystemExit: With status 1 if a case did not end as it must.
    """
    random = np.random.default_rng(seed)
    counts: Counter[tuple[str, str]] = Counter()
    bad = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        chain = make_corpus(root)
        cases = list(audio_cases(random, chain))
        if not only.startswith("audio"):
            make_chain(chain)
            cases += text_cases(random, chain)
        cases = [case for case in cases if case.kind.startswith(only)]
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        limit = resource_in_use() + _MORE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))
        for number, case in enumerate(cases):
            place = root / "inputs" / f"{number}"
            place.mkdir(parents=True)
            outcome, detail = run_case(case, place / case.name)
            counts[case.kind, outcome] += 1
            if outcome not in (ANSWERED, REFUSED):
                bad.append({"case": number, "kind": case.kind, "name": case.name, "what": outcome})
                print(f"{number} {case.kind} {case.name!r}: {outcome}: {detail}", file=sys.stderr)
            shutil.rmtree(place, ignore_errors=True)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    text = describe(counts, seed)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "fuzz.md").write_text(text + "\n")
        (out / "fuzz.json").write_text(json.dumps({"seed": seed, "bad": bad}, indent=1) + "\n")
    if bad:
        print(text)
        sys.exit(1)
    return text


def run_case(case: Case, path: Path) -> tuple[str, str]:
    """Writes and reads an input; returns what happened, and details."""

    def stop(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    case.write(path)
    signal.alarm(_SECONDS_A_CASE)
    noise = io.StringIO()
    try:
        with contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise):
            answer = case.read(path)
    except InputError as error:
        message = str(error)
        if len(message.replace(str(path), "").splitlines()) != 1:
            return TRACEBACK, f"several lines: {message!r}"
        return (OVERCAUTIOUS if case.needed else REFUSED), message
    except TimeoutError:
        return HANG, f"more than {_SECONDS_A_CASE} s"
    except BaseException:
        return TRACEBACK, traceback.format_exc(limit=-3)
    finally:
        signal.alarm(0)
    if case.right is None or not case.right(answer):
        return WRONG, repr(answer)[:200]
    return ANSWERED, ""


def describe(counts: Counter[tuple[str, str]], seed: int) -> str:
    """The table of outcomes by kind."""
    kinds = dict.fromkeys(kind for kind, _ in counts)
    rows = [(kind, *(counts[kind, outcome] for outcome in OUTCOMES)) for kind in kinds]
    totals = [sum(row[i] for row in rows) for i in range(1, len(OUTCOMES) + 1)]
    rows.append(("all", *totals))
    table = tabulate(rows, ("input", *OUTCOMES), tablefmt="github")
    return f"{sum(totals)} inputs, seed {seed}\n\n{table}"


def resource_in_use() -> int:
    """Bytes of address space that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


# What the chain makes, to be damaged -------------------------------------------------------------


def make_corpus(root: Path) -> Path:
    """Makes a corpus of tones: six speakers, three emotions, two takes."""
    chain = root / "chain"
    random = np.random.default_rng(0)
    for speaker in "abcdef":
        for emotion, hertz in (("anger", 200), ("joy", 400), ("sadness", 800)):
            for take in range(2):
                path = chain / "audio" / emotion / speaker / f"{take}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                time = np.arange(8_000) / RATE
                sound = 0.5 * np.sin(2 * np.pi * (hertz + 20 * ord(speaker)) * time)
                soundfile.write(path, sound + random.normal(0, 0.01, len(time)), RATE)
    return chain


def make_chain(chain: Path) -> None:
    """Makes what each step makes from the corpus."""
    from ser_nsl.audio import extract_features
    from ser_nsl.corpora import SplitConfig, prepare_corpus
    from ser_nsl.embeddings import extract_mfccs
    from ser_nsl.graph import build_graph, pack_neighbors

    manifest = chain / "manifest.csv"
    split = SplitConfig(seed=1)
    prepare_corpus(corpus="folder", audio_dir=chain / "audio", out=manifest, split=split)
    extract_features(manifest=manifest, out=chain / "features", shards=2)
    extract_mfccs(manifest=manifest, out=chain / "embeddings", shards=2)
    graph = chain / "graph.tsv"
    build_graph(embeddings=chain / "embeddings", out=graph, similarity_threshold=0.0)
    for form in ("official", "indexed"):
        made = {"features": chain / "features", "graph": graph, "out": chain / form}
        pack_neighbors(**made, form=form, shards=2)


# Audio -------------------------------------------------------------------------------------------

_ENCODINGS = [
    *[("wav", "WAV", each) for each in ("PCM_16", "PCM_24", "PCM_U8", "FLOAT", "DOUBLE", "ULAW")],
    *[("wav", "WAV", each) for each in ("IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32")],
    *[("wav", "WAVEX", "PCM_16"), ("wav", "RF64", "PCM_16"), ("w64", "W64", "PCM_16")],
    *[("aiff", "AIFF", "PCM_16"), ("aifc", "AIFF", "ULAW"), ("au", "AU", "PCM_16")],
    *[("caf", "CAF", "PCM_16"), ("caf", "CAF", "ALAC_16"), ("voc", "VOC", "PCM_16")],
    *[("sph", "NIST", "PCM_16"), ("svx", "SVX", "PCM_16"), ("flac", "FLAC", "PCM_16")],
    *[("ogg", "OGG", "VORBIS"), ("opus", "OGG", "OPUS"), ("mp3", "MP3", "MPEG_LAYER_III")],
]
_COMPRESSED = ("IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32", "VORBIS", "OPUS", "MPEG_LAYER_III")


@functools.cache
def speech() -> np.ndarray:
    """Two seconds of sound whose loudness and pitch change."""
    time = np.arange(2 * RATE) / RATE
    pitch = 150 + 60 * np.sin(2 * np.pi * 1.3 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    harmonics = sum(np.sin(k * phase) / k for k in range(1, 8))
    loudness = 0.1 + np.abs(np.sin(2 * np.pi * 0.9 * time))
    return 0.3 * loudness * harmonics / np.abs(harmonics).max()


def encode(form: str, subtype: str, samples: np.ndarray, rate: int = RATE) -> bytes:
    """Encodes samples."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()


def is_all_of(expected: np.ndarray, least: float) -> Callable[[np.ndarray], bool]:
    """Judges whether an answer has all of a sound, or nearly so."""

    def judge(answer: np.ndarray) -> bool:
        if not -0.02 * len(expected) <= len(answer) - len(expected) <= 0.2 * RATE:
            return False
        size = 2 ** math.ceil(math.log2(len(answer) + len(expected)))
        spectra = np.fft.rfft(answer, size), np.fft.rfft(expected, size)
        most = np.fft.irfft(spectra[0] * spectra[1].conj(), size).max()
        return most >= least * np.linalg.norm(answer) * np.linalg.norm(expected)

    return judge


def read_sound(chain: Path, path: Path) -> np.ndarray:
    """Reads a clip in each way that there is; all must agree."""
    from ser_nsl.audio import read_audio
    from ser_nsl.corpora import SplitConfig, prepare_corpus
    from ser_nsl.edge.predict import predict

    good = chain / "audio" / "joy" / "a" / "0.wav"
    rows = io.StringIO()
    with contextlib.redirect_stdout(rows), contextlib.suppress(SystemExit):
        predict((path, good), format="json")
    emotions = {
        row["file"]: row["emotion"] for row in map(json.loads, rows.getvalue().splitlines())
    }
    assert str(good) in emotions, "the batch ended"
    answer: np.ndarray | InputError
    try:
        answer = read_audio(path)
    except InputError as error:
        answer = error
    refused = isinstance(answer, InputError)
    if refused:  # silence is an answer of a recogniser, but nothing to learn from
        expected = "no speech" if "is silent" in str(answer) else None
        agree = emotions.get(str(path)) == expected
    else:
        agree = str(path) in emotions
    assert agree, "predict and read_audio disagree"
    apart = path.parent.with_name(f"{path.parent.name} apart")
    apart.mkdir()
    table = apart / "table.csv"
    shutil.copy(good, path.parent / "good one.wav")
    cell = path.name.replace('"', '""')
    rows_of_table = f'good one.wav,joy,a,train,good\n"{cell}",joy,b,train,odd\n'
    table.write_text(f"path,emotion,speaker,split,utterance_id\n{rows_of_table}")
    made = prepare_corpus(
        corpus="csv",
        audio_dir=path.parent,
        table=table,
        out=apart / "manifest.csv",
        split=SplitConfig(method="given"),
        skip_bad=True,
    )
    short = not refused and len(answer) < _SHORTEST_SAMPLES
    assert (made.counts["clips"] == 1) == (refused or short), "prepare_corpus disagrees"
    shutil.rmtree(apart)
    if isinstance(answer, InputError):
        raise answer
    return answer


def audio_cases(random: np.random.Generator, chain: Path) -> Iterator[Case]:
    """Cuts, patches and oddities of every format."""
    read = functools.partial(read_sound, chain)
    sound = speech()

    def case(kind: str, name: str, data: bytes, **judged: Any) -> Case:
        return Case(f"audio: {kind}", name, lambda path: path.write_bytes(data), read, **judged)

    for suffix, form, subtype in _ENCODINGS:
        data = encode(form, subtype, sound)
        name = f"{form.lower()}_{subtype.lower()}.{suffix}"
        least = 0.6 if subtype in _COMPRESSED else 0.95
        whole = {"right": is_all_of(sound, least)}
        yield case("whole", name, data, **whole, needed=True)
        yield case("another suffix", f"{name}.wav", data, **whole, needed=True)
        for _ in range(5):
            end = int(random.integers(1, len(data)))
            yield case("cut", name, data[:end], **whole)
        yield case("cut by one byte", name, data[:-1], **whole)
        # A decoder of MP3 looks for the next frame, and nothing says how many there were.
        for _ in range(0 if form == "MP3" else 3):
            patched = bytearray(data)
            patched[int(random.integers(0, 12))] ^= int(random.integers(1, 256))
            yield case("first bytes patched", name, bytes(patched), **whole)
        # A rate of a codec of blocks, and a codec, stand in one place, so nothing contradicts them.
        if form in ("FLAC", "OGG") or (form in ("WAV", "WAVEX") and subtype not in _COMPRESSED):
            for _ in range(4):
                patched = bytearray(data)
                place = random.choice([at for at in range(12, 44) if at not in _CODEC])
                patched[place] ^= 1 << int(random.integers(0, 8))
                yield case("header patched", name, bytes(patched), **whole)
        for _ in range(2):
            start = int(random.integers(len(data) // 2, len(data) - 600))
            yield case("hole", name, data[:start] + data[start + 500 :], **whole)
        zeros = data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
        if form in ("FLAC", "OGG", "MP3"):  # in others, these bytes may be sound
            yield case("second half zero", name, zeros)
            for size in (3, 4096):
                start = int(random.integers(len(data) // 2, len(data) - 10))
                filled = data[:start] + random.bytes(size) + data[start:]
                yield case("bytes put in", name, filled, **whole)
        if form in ("WAV", "AIFF", "FLAC", "OGG", "MP3"):
            yield case("joined", name, data + data)
        yield case("bytes after the end", name, data + bytes(700), **whole)
    yield from _odd_sound(random, case)
    yield from _no_sound(random, case)


def _odd_sound(random: np.random.Generator, case: Callable[..., Case]) -> Iterator[Case]:
    """Odd rates, channels, values, sizes and names."""
    for rate in (1000, 1001, 4000, 7350, 11_025, 12_345, 37_800, 96_000, 192_000, 768_000):
        tone = 0.4 * np.sin(2 * np.pi * 110 * np.arange(rate) / rate)
        expected = 0.4 * np.sin(2 * np.pi * 110 * np.arange(RATE) / RATE)
        data = encode("WAV", "PCM_16", tone, rate)
        yield case("odd rate", f"{rate}.wav", data, right=is_all_of(expected, 0.95), needed=True)
    for rate in (2, 999, 1_000_001, 2**31 - 1):
        yield case("impossible rate", f"{rate}.wav", encode("WAV", "PCM_16", speech()[:999], rate))
    sound = speech()
    for channels in (2, 3, 4, 5, 7, 8, 16, 32):
        data = encode("WAV", "PCM_16", np.tile(sound[:, np.newaxis], channels))
        judged = {"right": is_all_of(sound, 0.95), "needed": True}
        yield case("channels", f"{channels}.wav", data, **judged)
    for channels in (33, 200):
        data = encode("WAV", "PCM_16", np.tile(sound[:, np.newaxis], channels))
        yield case("channels", f"{channels}.wav", data)
    centre = np.zeros((len(sound), 6))
    centre[:, 2], centre[:, 3] = sound, 0.5 * np.sin(np.arange(len(sound)) / 60)
    for form, subtype in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("AIFF", "PCM_16")):
        data = encode(form, subtype, centre)
        yield case("5.1", f"{form}.wav", data, right=is_all_of(sound, 0.95), needed=True)
    for gain in (-1, -0.99, -0.9):
        data = encode("WAV", "FLOAT", np.stack([sound, gain * sound], axis=1))
        yield case("inverted channel", f"{gain}.wav", data)
    values = (np.nan, np.inf, -np.inf, 1e30, -3e38, 10.5, 2.0**15, -(2.0**31))
    for value in values:
        samples = sound.copy()
        samples[int(random.integers(len(samples)))] = value
        yield case("values", f"{value}.wav", encode("WAV", "FLOAT", samples))
    for gain in (0, 1e-6, 1e-40):
        yield case("silence", f"{gain}.wav", encode("WAV", "FLOAT", gain * sound))
    for value in (0.3, -1.0):  # throughout
        yield case("silence", f"{value}.wav", encode("WAV", "FLOAT", np.full(len(sound), value)))
    wav = encode("WAV", "PCM_16", sound)
    held = len(wav) - 44
    for riff, size in [
        *[(riff, size) for riff in (0, 36, 8, 2**32 - 1) for size in (0, 2**32 - 1, 2**31 - 1)],
        *[(held + 36 + change, held) for change in (-1, 1, 8, 100, 2**20)],
        *[(2**31 + 36, 2**31), (2**31 - 2012, 2**31 - 2048), (held + 36, 0)],
    ]:
        data = wav[:4] + struct.pack("<I", riff) + wav[8:40] + struct.pack("<I", size) + wav[44:]
        judged = {"right": is_all_of(sound, 0.95), "needed": True}
        yield case("sizes never written", f"{riff}_{size}.wav", data, **judged)
    for size in (held + 1, held + 2, held - 2000, held // 2, 2, 2**24, 2**32 - 40):
        data = wav[:40] + struct.pack("<I", size) + wav[44:]
        yield case("wrong sizes", f"{size}.wav", data, right=is_all_of(sound, 0.95))
    chunks = b"LIST\x04\0\0\0INFO", b"junk\x03\0\0\0abc\0", b"cue \x04\0\0\0\0\0\0\0"
    for chunk in chunks:
        for place in (12, 36, len(wav)):
            data = wav[:place] + chunk + wav[place:]
            data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
            judged = {"right": is_all_of(sound, 0.95), "needed": True}
            yield case("other chunks", f"{place}.wav", data, **judged)
    names = ["no suffix", ".raw", "a.raw", "a.vox", "a.gsm", "a.sd2", "a.mat", "a b.wav", "-a.wav"]
    names += ["line\nend.wav", 'quo"te.wav', "ü€😀.wav", "n" * 251 + ".wav", "%41.wav", "a.WAV."]
    for name in names:
        yield case("names", name, wav, right=is_all_of(sound, 0.95), needed=True)
    mp3 = encode("MP3", "MPEG_LAYER_III", sound)
    id3 = b"ID3\4\0\0\0\0\2\0" + bytes(256)
    for name, data in (("before", id3 + mp3), ("after", mp3 + b"TAG" + bytes(125))):
        judged = {"right": is_all_of(sound, 0.6), "needed": True}
        yield case("tags", f"{name}.mp3", data, **judged)


def _no_sound(random: np.random.Generator, case: Callable[..., Case]) -> Iterator[Case]:
    """Files that are not audio, whatever their names say."""
    contents = {
        "empty": b"",
        "byte": b"\0",
        "text": b"This is no sound.\n" * 300,
        "zeros": bytes(5000),
        "ones": b"\xff" * 5000,
        "noise": random.bytes(5000),
        "gzip": gzip.compress(encode("WAV", "PCM_16", speech())),
        "html": b"<!DOCTYPE html><html><body>404</body></html>",
        "riff": b"RIFF\x24\0\0\0WAVE",
        "flac": b"fLaC" + bytes(100),
        "ogg": b"OggS" + bytes(100),
        "id3": b"ID3\4\0\0\x7f\x7f\x7f\x7f",
        "mp4": b"\0\0\0\x18ftypM4A \0\0\0\0",
        "form": b"FORM\0\0\0\4AIFF",
    }
    for name, data in contents.items():
        for suffix in ("wav", "mp3", "ogg", "m4a", "raw"):
            yield case("no sound", f"{name}.{suffix}", data)


# Text and records --------------------------------------------------------------------------------


def text_cases(random: np.random.Generator, chain: Path) -> Iterator[Case]:
    """Damaged manifests, tables, graphs, records, descriptions and settings."""
    yield from _manifests(random, chain)
    yield from _tables(random, chain)
    yield from _graphs(random, chain)
    yield from _records(random, chain)
    yield from _descriptions(random, chain)
    yield from _settings(random)


def _damaged(random: np.random.Generator, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Damage that no text file survives unseen."""
    middle = data.index(b"\n", len(data) // 2) + 1
    yield "empty", b""
    yield "latin1", data[:middle] + b"caf\xe9" + data[middle:]
    yield "utf16", data.decode().encode("utf-16")
    yield "nul", data[:middle] + b"\0" + data[middle:]
    yield "gzip", gzip.compress(data)
    yield "binary", random.bytes(2000)
    for _ in range(4):
        end = int(random.integers(len(data) // 4, len(data)))
        end = data.index(b"\n", end) - 6  # inside a row, never after one
        yield "cut", data[:end]
    for _ in range(4):
        lines = data.splitlines(keepends=True)
        row = int(random.integers(1, len(lines)))
        place = int(random.integers(1, max(2, len(lines[row]) - 2)))
        lines[row] = lines[row][:place] + b"\n" + lines[row][place:]
        yield "broken row", b"".join(lines)


def _cells(
    data: bytes, separator: str, row: int, values: dict[int, list[str]]
) -> Iterator[tuple[str, bytes]]:
    """Puts values in place of a row's cells."""
    lines = data.decode().splitlines()
    for column, cells in values.items():
        for cell in cells:
            fields = lines[row].split(separator)
            fields[column] = cell
            changed = [*lines[:row], separator.join(fields), *lines[row + 1 :], ""]
            yield f"{column}={cell[:20]!r}", "\n".join(changed).encode()


def _manifests(random: np.random.Generator, chain: Path) -> Iterator[Case]:
    from ser_nsl.audio import extract_features, read_labels
    from ser_nsl.corpora.manifest import COLUMNS, read_manifest

    manifest = chain / "manifest.csv"
    data = manifest.read_bytes()
    labels = read_labels(chain / "features", "train", "val", "test")

    def read(path: Path) -> dict[str, int]:
        out = path.parent / "features"
        extract_features(manifest=path, audio_dir=chain / "audio", out=out)
        return read_labels(out, *sorted(set(read_manifest(path)["split"])))

    def case(kind: str, changed: bytes, **judged: Any) -> Case:
        return Case(
            f"manifest: {kind}", "clips.csv", lambda p: p.write_bytes(changed), read, **judged
        )

    def same(answer: object) -> bool:
        return answer == labels

    for kind, changed in (
        ("byte order mark", b"\xef\xbb\xbf" + data),
        ("line ends of Windows", data.replace(b"\n", b"\r\n")),
        ("one column more", data.replace(b"\n", b",more\n")),
    ):
        yield case(kind, changed, right=same, needed=True)
    for _, changed in _damaged(random, data):
        yield case("damaged", changed, right=same)
    header, *rows = data.splitlines(keepends=True)
    yield case("rows", header)
    yield case("rows", data + rows[3])
    yield case("rows", b"".join(rows))
    for column in COLUMNS:
        yield case("columns", data.replace(column.encode(), b"other", 1))
    yield case("columns", data.replace(b",", b";"))
    values = {
        0: ["", "a\tb"],
        1: ["", "nowhere.wav", "anger", ".", "../../../etc/passwd", "a" * 5000],
        5: ["", "Train", "dev", "nan"],
        6: ["", "nan", "inf", "-1", "0", "1e12", "abc", "1e400", "7,5"],
    }
    for _, changed in _cells(data, ",", 1, values):
        yield case("cells", changed)


def _tables(random: np.random.Generator, chain: Path) -> Iterator[Case]:
    from ser_nsl.corpora import prepare_corpus
    from ser_nsl.corpora.manifest import read_manifest

    emotions = dict(read_manifest(chain / "manifest.csv")[["path", "emotion"]].to_numpy())
    rows = [f"{path},{emotion},{Path(path).parent.name}" for path, emotion in emotions.items()]
    data = "\n".join(["path,emotion,speaker", *rows, ""]).encode()

    def read(path: Path) -> dict[str, str]:
        out = path.parent / "manifest.csv"
        prepare_corpus(corpus="csv", audio_dir=chain / "audio", table=path, out=out)
        return dict(read_manifest(out)[["path", "emotion"]].to_numpy())

    def case(kind: str, changed: bytes, **judged: Any) -> Case:
        return Case(f"table: {kind}", "mine.csv", lambda p: p.write_bytes(changed), read, **judged)

    yield case("byte order mark", b"\xef\xbb\xbf" + data, right=emotions.__eq__, needed=True)
    for _, changed in _damaged(random, data):
        yield case("damaged", changed, right=emotions.__eq__)
    for _, changed in _cells(data, ",", 2, {0: ["", "nowhere.wav", "anger", "\0"]}):
        yield case("cells", changed)


def _graphs(random: np.random.Generator, chain: Path) -> Iterator[Case]:
    from ser_nsl.graph import pack_neighbors, select_edges

    data = (chain / "graph.tsv").read_bytes()
    manifest, features = chain / "manifest.csv", chain / "features"

    def read(path: Path) -> list[str]:
        selected = path.parent / "selected.tsv"
        select_edges(graph=path, manifest=manifest, out=selected, nearest=2)
        packed = path.parent / "packed"
        pack_neighbors(features=features, graph=path, out=packed)
        return sorted(selected.read_text().splitlines())

    with tempfile.TemporaryDirectory() as folder:
        expected = read(shutil.copy(chain / "graph.tsv", Path(folder) / "graph.tsv"))

    def case(kind: str, changed: bytes, name: str = "edges.tsv", **judged: Any) -> Case:
        return Case(f"graph: {kind}", name, lambda p: p.write_bytes(changed), read, **judged)

    yield case("line ends of Windows", data.replace(b"\n", b"\r\n"), right=expected.__eq__)
    yield case("gzip", gzip.compress(data), "edges.tsv.gz", right=expected.__eq__)
    for kind, changed in _damaged(random, data):
        if kind != "cut":  # a weight of fewer digits is a weight too
            yield case("damaged", changed, right=expected.__eq__)
    ids = data.decode().splitlines()[0].split("\t")
    values = {
        0: ["", "unknown", ids[1], " " + ids[0]],
        1: ["", "unknown", ids[0]],
        2: ["nan", "inf", "-0.5", "-1e9", "abc", "", "0x1", "1,0"],
    }
    for _, changed in _cells(data, "\t", 0, values):
        yield case("cells", changed)
    yield case("header", b"source\ttarget\tweight\n" + data)
    yield case("fourth column", data.replace(b"\n", b"\tx\n"))
    yield case("spaces", data.replace(b"\t", b" "))


def _records(random: np.random.Generator, chain: Path) -> Iterator[Case]:
    import tensorflow as tf

    from ser_nsl.audio import Description, feature_example, read_labels, read_logmels
    from ser_nsl.graph import build_graph, pack_neighbors
    from ser_nsl.training.data import training_clips

    features = chain / "features"
    description = Description.load(features)
    labels = read_labels(features, "train")
    shard = "train-00000-of-00002.tfrecord"

    def read_features(path: Path) -> dict[str, int]:
        folder = path.parent
        clips = training_clips(folder, ("train",), description)
        pack_neighbors(
            features=folder, graph=chain / "graph.tsv", out=folder.parent / f"{folder.name}.packed"
        )
        assert len(clips.labels) == len(labels), "clips are missing"
        found = read_labels(folder, "train")
        assert all(np.isfinite(logmel).all() for logmel in read_all(folder))
        return found

    def read_all(folder: Path) -> Iterator[np.ndarray]:
        paths = sorted(folder.glob("train-*"))
        for _, logmel in read_logmels(paths, description.logmel_shape):
            yield logmel

    def read_training(form: str, path: Path) -> dict[str, int]:
        clips = training_clips(path.parent, ("train",), description, neighbors=2)
        return dict(zip(clips.ids, np.asarray(clips.labels).tolist(), strict=True))

    def read_embeddings(path: Path) -> str:
        out = path.parent.parent / f"{path.parent.name}.tsv"
        build_graph(embeddings=path.parent, out=out, similarity_threshold=0.0)
        return out.read_text()

    def write(folder: Path, data: bytes, path: Path) -> None:
        shutil.copytree(folder, path.parent, dirs_exist_ok=True)
        path.write_bytes(data)

    kinds: list[tuple[str, Path, Callable[[Path], Any], Callable[[Any], bool]]] = [
        ("features", features, read_features, labels.__eq__),
        (
            "embeddings",
            chain / "embeddings",
            read_embeddings,
            (chain / "graph.tsv").read_text().__eq__,
        ),
    ]
    with contextlib.suppress(InputError):
        for form in ("official", "indexed"):
            expected = read_training(form, chain / form / "any")
            reader = functools.partial(read_training, form)
            kinds.append((f"training, {form}", chain / form, reader, expected.__eq__))
    for kind, folder, read, right in kinds:
        path = sorted(folder.glob("train-*"))[0]
        data = path.read_bytes()
        changes = [b"", data[:-1], data + b"\0", data + data, data[: len(data) // 2]]
        for _ in range(8):
            changes.append(data[: int(random.integers(1, len(data)))])
            flipped = bytearray(data)
            flipped[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
            changes.append(bytes(flipped))
        length = int.from_bytes(data[:8], "little") + 16
        changes += [data[:length], data[length:], data[: length + 7]]
        for changed in changes:
            writer = functools.partial(write, folder, changed)
            yield Case(f"records: {kind}", path.name, writer, read, right)
    shape = description.logmel_shape
    ones = np.ones(shape, np.float32)
    examples = {
        "label": feature_example("odd", ones, 99),
        "negative label": feature_example("odd", ones, -7),
        "nan": feature_example("odd", ones * np.nan, 0),
        "infinite": feature_example("odd", ones * np.inf, 0),
        "huge": feature_example("odd", ones * 1e30, 0),
        "short": feature_example("odd", ones[:-1], 0),
        "no id": feature_example("", ones, 0),
        "twice": feature_example(next(iter(labels)), ones, 0),
        "nothing": tf.train.Example(),
    }
    broken = feature_example("odd", ones, 0)
    broken.features.feature["id"].bytes_list.value[0] = b"\xff\xfe"
    examples["id"] = broken
    for example in examples.values():
        file = io.BytesIO()
        with tempfile.NamedTemporaryFile() as written:
            with tf.io.TFRecordWriter(written.name) as writer_of_records:
                writer_of_records.write(example.SerializeToString())
            file.write(Path(written.name).read_bytes())
        data = (features / shard).read_bytes() + file.getvalue()
        yield Case(
            "records: values", shard, functools.partial(write, features, data), read_features
        )


def _descriptions(random: np.random.Generator, chain: Path) -> Iterator[Case]:
    from ser_nsl.audio import Description

    features = chain / "features"
    data = (features / "description.json").read_text()
    original = Description.load(features)

    def read(path: Path) -> Description:
        return Description.load(path.parent)

    def case(kind: str, changed: bytes, **judged: Any) -> Case:
        name = "description.json"
        return Case(f"description: {kind}", name, lambda p: p.write_bytes(changed), read, **judged)

    for _ in range(8):
        yield case("cut", data[: int(random.integers(1, len(data) - 2))].encode())
    for changed in ("", "null", "[]", "3", '"text"', "{}", data.replace("{", "[", 1)):
        yield case("another form", changed.encode())
    yield case("another form", data.encode("utf-16"))
    yield case("another form", data.encode() + b"\xe9")
    values = [None, "text", -1, 0, 1.5, [], {}, math.nan, math.inf, 2**70, True]
    for key in ("clip_samples", "classes", "mean", "deviation", "front_end"):
        for value in values:
            if (key, value) == ("classes", []):  # speech without labels
                continue
            changed = json.dumps(json.loads(data) | {key: value}).encode()
            yield case(key, changed, right=original.__eq__)
    for value in (-1, 0, math.nan, math.inf, "8", None, 10**9):
        for key in ("sample_rate_hz", "hop_samples", "mel_bins", "high_hz"):
            front_end = json.loads(data)["front_end"] | {key: value}
            changed = json.dumps(json.loads(data) | {"front_end": front_end}).encode()
            yield case("front_end", changed)


def _settings(random: np.random.Generator) -> Iterator[Case]:
    from importlib import resources

    import yaml

    from ser_nsl.pipeline import load_experiment

    configs = Path(str(resources.files("ser_nsl"))) / "pipeline" / "configs"
    data = (configs / "smoke.yaml").read_text()

    def read(path: Path) -> Any:
        return load_experiment(str(path))

    original = load_experiment("smoke")

    def is_finite(answer: Any) -> bool:
        """Whether all numbers of settings are finite and not negative."""
        if is_dataclass(answer) and not isinstance(answer, type):
            answer = asdict(answer)
        if isinstance(answer, dict):
            return all(map(is_finite, answer.values()))
        if isinstance(answer, list | tuple):
            return all(map(is_finite, answer))
        return not isinstance(answer, int | float) or 0 <= answer < 1e12

    def case(kind: str, changed: bytes, **judged: Any) -> Case:
        return Case(
            f"settings: {kind}", "mine.yaml", lambda p: p.write_bytes(changed), read, **judged
        )

    laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n"
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    for text in (
        *("", "3", "text", "[1, 2]", "null", "a: b: c", "\tname: x", "{", "- a\n- b", laughs),
        *("name: !!python/object/apply:os.system ['true']", "name: ${oc.env:HOME}\n" + data),
        *("name: ${nowhere}", data + "\nunknown: 1\n", data + "\nname: ../../evil\n"),
    ):
        yield case("another form", text.encode())
    yield case("another form", data.encode("utf-16"))
    yield case("another form", data.encode() + b"\n# caf\xe9\n")
    yield case("another form", random.bytes(3000))
    for _ in range(6):
        end = data.index("\n", int(random.integers(0, data.index("graph:"))))
        yield case("cut", data[: max(1, end - 3)].encode(), right=is_finite)
    keys = ("clip_seconds", "training.epochs", "training.alpha", "graph.max_neighbors", "seeds")
    keys += ("training.learning_rate", "target.split.test_share", "training.batch_size")
    values = (".inf", "-.inf", ".nan", "-1", "text", "[]", "{}", "1e400", "-1e-9", "10000000000000")
    for key in keys:
        for value in values:
            config = yaml.safe_load(data)
            *outer, last = key.split(".")
            functools.reduce(lambda part, name: part[name], outer, config)[last] = value
            changed = yaml.safe_dump(config).replace(f"'{value}'", value)
            yield case(key, changed.encode(), right=is_finite)
    assert is_finite(original)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    run_function(main)
