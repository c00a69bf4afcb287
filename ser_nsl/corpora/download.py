"""Downloads corpora: resumes, checks, and unpacks nothing outside the folder.

pooch verifies the checksum and moves the archive into place. Its own HTTP downloader starts again
after each interruption, so `resume` replaces it through the hook that pooch has for that.
"""

import json
import shutil
import stat
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path, PureWindowsPath
from zipfile import ZipFile, ZipInfo

import pooch
import requests

from ser_nsl import __version__
from ser_nsl.corpora.description import Download, lists_known_corpora, load_corpus
from ser_nsl.errors import InputError
from ser_nsl.pipeline.bars import Bar
from ser_nsl.pipeline.lock import locked
from ser_nsl.pipeline.record import parse

TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 16
PART = "archive.part"  # what has arrived so far
RECORD = "source.json"  # in the corpus folder: where it came from, and that it is complete
MAX_EXPANSION = 20  # unpacked over packed bytes; zipped speech has 1 to 4
_AGAIN = "Run the same command again; if that fails too, get the archive by hand"


@dataclass(frozen=True)
class DownloadResult:
    """A complete corpus on disk.

    Attributes:
        folder: Folder of its files.
        files: Number of files in the archive.
        sha256: Hex digest of the archive; note it where the authors publish no checksum.
        downloaded: False if the corpus was there before.
    """

    folder: Path
    files: int
    sha256: str
    downloaded: bool


@lists_known_corpora
def download_corpus(corpus: str, /, *, out: Path) -> DownloadResult:
    """Downloads a corpus from its official archive, or says where to get it.

    The licence is printed before the first byte is requested. The work is done in a hidden folder
    in `out` and renamed when all is unpacked, so the corpus folder is whole or absent; then the
    archive is removed. If the download was interrupted or killed, the same call resumes it. If the
    corpus is complete, the call requests nothing.

    Args:
        corpus: A known corpus (KNOWN), or the path of a YAML file that
            describes one. Many corpora are given out on request only.
        out: Folder that receives a folder named like the corpus. Nothing is written outside it.
            It needs room for the archive and the unpacked files together.

    Returns:
        The folder, the number of files in it and the archive's SHA-256.

    Raises:
        InputError: If the corpus is unknown or has no free archive; if the network, the server or
            the disk fails; if the checksum differs, or the archive is damaged, has a link or a
            path that leaves the folder, or claims more than `MAX_EXPANSION` times its size or than
            the disk has free; if another process downloads it; or if the corpus folder exists but
            was not made here.

    Example:
        >>> download_corpus("emovo", out=Path("corpora"))
        Traceback (most recent call last):
        ...
        ser_nsl.errors.InputError: corpus: EMOVO cannot be downloaded freely: ask its authors ...
    """
    described = load_corpus(corpus)
    archive = described.download
    if archive is None:
        raise InputError(
            f"corpus: {described.title} cannot be downloaded freely: {described.source}. Unpack it "
            "by hand."
        )
    folder = out / Path(corpus).stem
    workplace = out / f".{folder.name}-download"
    print(f"{described.title}: {archive.url} (about {archive.megabytes} MB)")
    print(f"licence: {described.licence}; see {described.source}; cite {archive.citation}")
    try:
        with locked(folder):
            downloaded = not folder.exists()
            if downloaded:
                _unpack(_fetch(archive, workplace), workplace / "unpacked", archive)
                (workplace / "unpacked").rename(folder)
            record = _read_record(folder)
            if workplace.exists():
                shutil.rmtree(workplace)
    except OSError as error:
        raise InputError(
            f"{out}: cannot be written ({error}). Give an --out that is a folder of yours with "
            "free space and run the same command again."
        ) from error
    if not downloaded:
        print(f"already there: {folder}; nothing was downloaded")
    return DownloadResult(folder, record["files"], record["sha256"], downloaded)


def resume(url: str, output_file: str, pooch: object) -> None:
    """Downloads `url` as pooch's own downloaders do, but goes on where an earlier call stopped.

    What arrives is kept in `PART` beside `output_file` and renamed to it at the end. A server
    that ignores `Range` sends everything again. If its file has changed since the earlier call,
    the check of the whole archive refuses the mixture, and the next call starts from nothing.

    Args:
        url: Address, http or https.
        output_file: Path of the complete file.
        pooch: Unused; pooch passes itself to its downloaders.

    Raises:
        requests.RequestException: If the server cannot be reached, answers with an error or
            stops before the end.
    """
    part = Path(output_file).with_name(PART)
    start = _size(part)
    # Ranges count the bytes of the file only if the reply is not compressed on the way.
    headers = {"Accept-Encoding": "identity", "User-Agent": f"ser_nsl/{__version__}"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
        if start and response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()  # as long as the file or longer, so not a part of it
            return resume(url, output_file, pooch)
        response.raise_for_status()
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            start = 0
        total = start + int(response.headers.get("Content-Length", 0)) or None
        with (
            part.open("ab" if start else "wb") as sink,
            Bar(total=total, initial=start, unit="B", unit_scale=True) as progress,
        ):
            for chunk in response.iter_content(CHUNK_BYTES):
                sink.write(chunk)
                progress.update(len(chunk))
    part.replace(output_file)


def _fetch(archive: Download, workplace: Path) -> Path:
    """Returns the archive in `workplace`, with its published checksum and no faults."""
    pooch.get_logger().setLevel("WARNING")  # its advice is for callers of pooch
    zip_file = workplace / "archive.zip"
    try:
        pooch.retrieve(
            archive.url, archive.checksum, fname=zip_file.name, path=workplace, downloader=resume
        )
    except requests.RequestException as error:
        answer = error.response
        reason = type(error).__name__ if answer is None else f"{answer.status_code} {answer.reason}"
        raise InputError(
            f"{archive.url}: the download failed ({reason}); {_size(workplace / PART):,} bytes are "
            "kept. Check the network and run the same command again: it resumes there."
        ) from error
    except ValueError as error:  # pooch compared the checksums and removed the file
        raise InputError(f"{archive.url}: {error} {_AGAIN}.") from error
    fault = _fault(zip_file)
    if fault:
        zip_file.unlink()
        raise InputError(f"{archive.url}: {fault}. Nothing was unpacked. {_AGAIN}.")
    return zip_file


def _fault(zip_file: Path) -> str | None:
    """Returns why an archive must not be unpacked, or None if it may be."""
    try:
        with ZipFile(zip_file) as zipped:
            for member in zipped.infolist():
                if not _stays_inside(member):
                    return f"its member {member.filename!r} is a link or leaves the folder"
            size, claimed = _size(zip_file), _claimed_size(zipped)
            if claimed > MAX_EXPANSION * size:
                return f"it claims {claimed:,} bytes unpacked, over {MAX_EXPANSION} times {size:,}"
            damaged = zipped.testzip()
            return damaged and f"its member {damaged!r} is damaged (CRC)"
    except Exception as error:  # zipfile raises a dozen types for damage
        return f"it is not a sound zip file ({type(error).__name__}: {error})"


def _stays_inside(member: ZipInfo) -> bool:
    """Returns whether a member is a file or folder inside the target folder, on any system."""
    path = PureWindowsPath(member.filename)  # knows drives, and both slashes
    kind = stat.S_IFMT(member.external_attr >> 16)
    return not path.anchor and ".." not in path.parts and kind in (0, stat.S_IFREG, stat.S_IFDIR)


def _unpack(zip_file: Path, folder: Path, archive: Download) -> None:
    """Unpacks a sound archive into `folder` and adds the record that it is complete."""
    if folder.exists():
        shutil.rmtree(folder)  # of a run that was killed
    with ZipFile(zip_file) as zipped:
        claimed, free = _claimed_size(zipped), shutil.disk_usage(zip_file.parent).free
        if claimed > free:
            raise InputError(
                f"{archive.url}: takes {claimed:,} bytes unpacked, but the disk has {free:,} free. "
                "Make room and run the same command again; the archive is kept."
            )
        zipped.extractall(folder)
        files = sum(not member.is_dir() for member in zipped.infolist())
    record = asdict(archive) | {"files": files, "sha256": pooch.file_hash(str(zip_file))}
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _read_record(folder: Path) -> dict:
    """Reads what `_unpack` wrote about a complete corpus."""
    path = folder / RECORD
    if not path.is_file():
        raise InputError(
            f"{folder} exists but has no {RECORD}, so it was not downloaded here and stays as it "
            "is. Use it, move it away, or give another --out."
        )
    record = parse(path.read_bytes())
    if not isinstance(record, dict) or not record.keys() >= {"files", "sha256"}:
        raise InputError(
            f"{path}: is damaged, so it does not say whether the corpus is complete; move {folder} "
            "away, and run the same command again."
        )
    return record


def _claimed_size(zipped: ZipFile) -> int:
    """Returns the unpacked bytes that the members claim; extraction stops at that number."""
    return sum(member.file_size for member in zipped.infolist())


def _size(path: Path) -> int:
    """Returns the bytes of a file, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0
