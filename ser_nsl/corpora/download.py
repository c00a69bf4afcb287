"""Fetches the corpora that anybody may download: resumed, checked, safely unpacked.

pooch verifies the checksum and moves the archive into place; its own HTTP downloader starts
over after every cut, so `resume` takes its place through the hook that pooch offers for that.
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
from tqdm import tqdm

from ser_nsl import __version__
from ser_nsl.corpora.description import load_corpus
from ser_nsl.errors import InputError

TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 16
PART = "archive.part"  # what has arrived so far
RECORD = "source.json"  # in the corpus folder: where it came from, and that it is complete
MAX_EXPANSION = 20  # unpacked over packed bytes; zipped speech has 1 to 4


@dataclass(frozen=True)
class Archive:
    """A zip file that holds a whole corpus.

    Attributes:
        corpus: Name of the corpus, and of its folder.
        url: Address of the archive.
        home: Page where its authors describe it.
        megabytes: Approximate size of the archive in 10^6 bytes.
        checksum: `algorithm:hex digits` as published by the authors; None where they publish none.
        licence: Terms of use.
        citation: The publication to cite.
    """

    corpus: str
    url: str
    home: str
    megabytes: int
    checksum: str | None
    licence: str
    citation: str


@dataclass(frozen=True)
class DownloadResult:
    """A complete corpus on disk.

    Attributes:
        folder: Where its files are.
        files: How many files the archive held.
        sha256: Hex digest of the archive; note it where the authors publish no checksum.
        downloaded: False if the corpus was there before.
    """

    folder: Path
    files: int
    sha256: str
    downloaded: bool


def download_corpus(corpus: str, /, *, out: Path) -> DownloadResult:
    """Downloads a corpus from its official archive, or says where to get it.

    Args:
        corpus: A known corpus, e.g. ravdess or emodb. Many are given out on request only, or come
            from a page that wants a click.
        out: Folder that receives a folder named like the corpus. Nothing is written outside it.
            It needs room for the archive and the unpacked files together.

    Returns:
        The folder, the number of files in it and the archive's SHA-256.

    Raises:
        InputError: If the corpus is unknown or cannot be downloaded freely, and as in
            `download_archive`.

    Example:
        >>> download_corpus("emovo", out=Path("corpora"))
        Traceback (most recent call last):
        ...
        ser_nsl.errors.InputError: corpus: EMOVO cannot be downloaded freely: ask its authors ...
    """
    return download_archive(find_archive(corpus), out=out)


def find_archive(corpus: str) -> Archive:
    """Finds the archive of a corpus.

    Args:
        corpus: A known corpus, or the path of a YAML file that describes one.

    Returns:
        The archive.

    Raises:
        InputError: If the corpus is unknown, or has no archive that anybody may download.
    """
    known = load_corpus(corpus)
    if known.download is None:
        raise InputError(
            f"corpus: {known.title} cannot be downloaded freely: {known.source}. Unpack it by hand."
        )
    settings = vars(known.download)
    return Archive(Path(corpus).stem, home=known.source, licence=known.licence, **settings)


def download_archive(archive: Archive, *, out: Path) -> DownloadResult:
    """Downloads, checks and unpacks one archive into `out / archive.corpus`.

    The licence is printed before the first byte is asked for. The work is done in a hidden
    folder in `out` and renamed when all is unpacked, so the corpus folder is whole or absent;
    then the archive is removed. A run that was cut or killed goes on where it stopped when it
    is repeated; a complete one, repeated, asks nothing of the network.

    Args:
        archive: What to fetch.
        out: Folder that receives the corpus folder.

    Returns:
        The folder, the number of files in it and the archive's SHA-256.

    Raises:
        InputError: If the network, the server or the disk fails, if the checksum differs, if
            the archive is damaged, if it holds a link or a path that leaves the folder, if it
            claims more than `MAX_EXPANSION` times its size or than the disk has free, or if
            the corpus folder exists but was not made here.
    """
    folder = out / archive.corpus
    workplace = out / f".{archive.corpus}-download"
    print(f"{archive.corpus}: {archive.url} (about {archive.megabytes} MB)")
    print(f"licence: {archive.licence}; see {archive.home}; cite {archive.citation}")
    try:
        downloaded = not folder.exists()
        if downloaded:
            zip_file = _fetch(archive, workplace)
            _unpack(zip_file, workplace / "unpacked", source=archive)
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
    that ignores `Range` sends everything again. Should its file have changed since the earlier
    call, the caller's check of the whole refuses the mixture and the next call starts afresh.

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
            tqdm(total=total, initial=start, unit="B", unit_scale=True) as progress,
        ):
            for chunk in response.iter_content(CHUNK_BYTES):
                sink.write(chunk)
                progress.update(len(chunk))
    part.replace(output_file)


def _fetch(archive: Archive, workplace: Path) -> Path:
    """Returns the archive in `workplace`, with its published checksum and free of faults."""
    pooch.get_logger().setLevel("WARNING")  # its advice is for callers of pooch
    try:
        zip_file = Path(
            pooch.retrieve(
                archive.url,
                known_hash=archive.checksum,
                fname="archive.zip",
                path=workplace,
                downloader=resume,
            )
        )
    except requests.HTTPError as error:
        answer = error.response
        said = "with an error" if answer is None else f"{answer.status_code} {answer.reason}"
        raise InputError(
            f"{archive.url}: the server answered {said}. Try again later, or see {archive.home}"
        ) from error
    except requests.RequestException as error:
        kept = _size(workplace / PART)
        raise InputError(
            f"{archive.url}: the server cannot be reached or stopped sending "
            f"({type(error).__name__}); {kept:,} bytes are here and kept. Check the network "
            "and run the same command again: it goes on from there."
        ) from error
    except ValueError as error:  # pooch compared the checksums and removed the file
        raise InputError(
            f"{error} Run the same command again; if that ends the same, see {archive.home}"
        ) from error
    fault = _fault(zip_file)
    if fault:
        zip_file.unlink()
        raise InputError(
            f"{archive.url}: {fault}. Nothing was unpacked, the archive was removed. Run "
            f"the same command again; if that ends the same, see {archive.home}"
        )
    return zip_file


def _fault(zip_file: Path) -> str | None:
    """Returns why an archive must not be unpacked, or None if nothing speaks against it."""
    try:
        with ZipFile(zip_file) as zipped:
            for member in zipped.infolist():
                if not _stays_inside(member):
                    return f"its member {member.filename!r} is a link or leaves the folder"
            size, announced = _size(zip_file), _announced(zipped)
            if announced > MAX_EXPANSION * size:
                return (
                    f"it announces {announced:,} bytes unpacked, more than {MAX_EXPANSION} "
                    f"times its own {size:,}"
                )
            damaged = zipped.testzip()
            return damaged and f"its member {damaged!r} is damaged (CRC)"
    except Exception as error:  # zipfile meets damage with a dozen types
        return f"it is not a sound zip file ({type(error).__name__}: {error})"


def _stays_inside(member: ZipInfo) -> bool:
    """Tells whether a member is a file or folder inside the target folder, on any system."""
    path = PureWindowsPath(member.filename)  # knows drives, and both slashes
    kind = stat.S_IFMT(member.external_attr >> 16)
    leaves = path.anchor or ".." in path.parts
    return not leaves and kind in (0, stat.S_IFREG, stat.S_IFDIR)


def _unpack(zip_file: Path, folder: Path, *, source: Archive) -> None:
    """Unpacks a faultless archive into `folder` and adds the record that it is complete."""
    if folder.exists():
        shutil.rmtree(folder)  # of a run that was killed
    with ZipFile(zip_file) as zipped:
        announced, free = _announced(zipped), shutil.disk_usage(zip_file.parent).free
        if announced > free:
            raise InputError(
                f"{source.corpus} takes {announced:,} bytes unpacked, but the disk has "
                f"{free:,} free. Make room and run the same command again; the archive is kept."
            )
        zipped.extractall(folder)
        files = sum(not member.is_dir() for member in zipped.infolist())
    record = asdict(source) | {"files": files, "sha256": pooch.file_hash(str(zip_file))}
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _read_record(folder: Path) -> dict:
    """Returns what `_unpack` noted about a complete corpus."""
    path = folder / RECORD
    if not path.is_file():
        raise InputError(
            f"{folder} exists but has no {RECORD}: this script did not make it and leaves it "
            "alone. Use it as it is, move it away, or give another --out."
        )
    return json.loads(path.read_text(encoding="utf-8"))


def _announced(zipped: ZipFile) -> int:
    """Returns the bytes that the members say to have unpacked; reading stops at that many."""
    return sum(member.file_size for member in zipped.infolist())


def _size(path: Path) -> int:
    """Returns the bytes of a file, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0
