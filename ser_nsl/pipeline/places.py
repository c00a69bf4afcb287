"""Paths of object stores and HDFS, which TensorFlow reads where a path of this machine could stand.

`place("s3://bucket/features")` is a `pathlib.Path` whose reading methods go through `tf.io.gfile`:
tensorflow-io brings the file systems s3, az and hdfs, TensorFlow itself gs. A path that has lost a
slash on its way through `pathlib`, `s3:/bucket/features`, is taken for what it was.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import importlib
import io
import os
import re
import socket
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PosixPath
from typing import IO, Any, NoReturn
from urllib.parse import urlsplit

from ser_nsl.errors import InputError
from ser_nsl.lazy import tf

_ADDRESS = re.compile(r"(s3|az|hdfs|gs):/+")
_SECONDS = 5  # to connect to a server
_BUFFER = 2**20  # bytes read at a time: each reading is a request
# Each of eleven attempts would wait for up to five minutes.
_PATIENCE = {"S3_CONNECT_TIMEOUT_MSEC": "3000", "S3_REQUEST_TIMEOUT_MSEC": "30000"}
_ACCESS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and, for other servers than "
    "Amazon's, S3_ENDPOINT",
    "az": "TF_AZURE_STORAGE_KEY",
    "hdfs": "HADOOP_HDFS_HOME, JAVA_HOME and CLASSPATH",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
}


def place(path: str | Path) -> Path:
    """Returns the path of a file or folder to read, on this machine or elsewhere.

    Args:
        path: A path, or an address that begins with `s3://`, `az://`, `hdfs://` or `gs://`.

    Returns:
        A `RemotePath` for an address, else the path.

    Example:
        >>> place("features"), str(place(Path("s3://bucket") / "features"))
        (PosixPath('features'), 's3://bucket/features')
    """
    return RemotePath(path) if _ADDRESS.match(str(path)) else Path(path)


class RemotePath(PosixPath):
    """A path on another file system, for reading: what is not defined here is not for use.

    Raises:
        InputError: In whatever reads, if the file system or its server is not there.
    """

    def __str__(self) -> str:
        scheme, *names = self.parts
        return f"{scheme}//{'/'.join(names)}"

    def absolute(self) -> RemotePath:
        """Returns this path, which depends on no working folder."""
        return self

    def resolve(self, strict: bool = False) -> RemotePath:
        """Returns this path, since links are not known here."""
        return self

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Returns kind, bytes, and time of the last change in seconds."""
        with self._answering():
            found = tf.io.gfile.stat(str(self))
        kind = stat.S_IFDIR if found.is_directory else stat.S_IFREG
        seconds = found.mtime_nsec / 1e9
        return os.stat_result((kind, 0, 0, 0, 0, 0, found.length, seconds, seconds, seconds))

    def _kind(self) -> int:
        """What is here, 0 for nothing; `pathlib` would take an `InputError` for nothing too."""
        try:
            return stat.S_IFMT(self.stat().st_mode)
        except FileNotFoundError:
            return 0

    def exists(self) -> bool:
        """Returns whether there is anything here."""
        return self._kind() != 0

    def is_file(self) -> bool:
        """Returns whether there is a file here."""
        return self._kind() == stat.S_IFREG

    def is_dir(self) -> bool:
        """Returns whether there is a folder here."""
        return self._kind() == stat.S_IFDIR

    def glob(self, pattern: str) -> Generator[RemotePath, None, None]:
        """Yields the files of this folder whose names match."""
        with self._answering():
            found = tf.io.gfile.glob(str(self / pattern))
        yield from map(RemotePath, found)

    def files(self) -> Iterator[RemotePath]:
        """Yields all files in this folder and below it."""
        with self._answering():
            for folder, _, names in tf.io.gfile.walk(str(self)):
                yield from (RemotePath(folder) / name for name in names)

    def open(  # type: ignore[override]
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """Opens a file for reading."""
        self.stat()
        reader = io.BufferedReader(_Reader(self), _BUFFER)
        if "b" in mode:
            return reader
        return io.TextIOWrapper(reader, encoding or "utf-8", errors, newline)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Names what is wrong with a server, which tensorflow-io takes for a missing file."""
        _check_server(str(RemotePath(*self.parts[:2])))
        try:
            yield
        except tf.errors.NotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "does not exist", str(self)) from error
        except tf.errors.OpError as error:
            refuse_server(self, error)


class _Reader(io.RawIOBase):
    """The bytes of a remote file."""

    def __init__(self, path: RemotePath) -> None:
        self._path = path
        self._file = tf.io.gfile.GFile(str(path), "rb")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._path._answering():
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._file.seek(offset, whence)
        return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()


def refuse_server(path: Path, error: tf.errors.OpError) -> NoReturn:
    """Raises an error that says what to look at when a server gives no file.

    Raises:
        InputError: Always.
    """
    scheme = str(path).partition(":")[0]
    message = error.message or str(error)
    words = "refuses the credentials" if _refuses(error) else "cannot be reached or read"
    raise InputError(
        f"{path}: its server {words} ({' '.join(message.split())[:200]}); check the address, the "
        f"network, and {_ACCESS[scheme]}."
    ) from error


def _refuses(error: tf.errors.OpError) -> bool:
    kinds = (
        tf.errors.FailedPreconditionError,
        tf.errors.PermissionDeniedError,
        tf.errors.UnauthenticatedError,
    )
    return isinstance(error, kinds)


@functools.cache
def _check_server(bucket: str) -> None:
    """Loads the file system, and asks the server once for something, be it there or not."""
    scheme = bucket.partition(":")[0]
    if scheme not in tf.io.gfile.get_registered_schemes():
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        try:
            importlib.import_module("tensorflow_io")
        except ImportError as error:
            raise InputError(
                f"{bucket}: reading {scheme}:// needs tensorflow-io; pip install 'ser-nsl[train]'."
            ) from error
    if scheme not in tf.io.gfile.get_registered_schemes():
        raise InputError(f"{bucket}: tensorflow-io has no file system {scheme}:// here.")
    if scheme == "s3" and os.environ.get("S3_ENDPOINT"):
        _check_port(bucket, os.environ["S3_ENDPOINT"])
    try:  # what opens datasets shows the server's answer, where `tf.io.gfile` says "not found"
        next(iter(tf.data.TFRecordDataset(f"{bucket}/nothing")), None)
    except tf.errors.NotFoundError:
        return
    except tf.errors.OpError as error:
        refuse_server(RemotePath(bucket), error)
    finally:
        _skip_destructors()


def _check_port(bucket: str, endpoint: str) -> None:
    """Refuses a server that does not answer; tensorflow-io would try for minutes."""
    found = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
    port = found.port or (80 if os.environ.get("S3_USE_HTTPS") == "0" else 443)
    try:
        socket.create_connection((found.hostname or "", port), _SECONDS).close()
    except OSError as error:
        raise InputError(
            f"{bucket}: the server at S3_ENDPOINT, {endpoint}, cannot be reached ({error}); check "
            "the address and the network."
        ) from error


def _skip_destructors() -> None:
    """Ends the process, when it ends, before the destructors of tensorflow-io.

    In the versions for TensorFlow 2.15 they abort a process that has read from S3, whatever it did
    (https://github.com/tensorflow/io/issues/1912).
    """
    libc = ctypes.CDLL(None)
    with suppress(AttributeError):  # of glibc only
        libc.on_exit(libc._exit, None)
