"""The folder of a checkpoint: a local one, or the cache with the files of the hub."""

import difflib
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import logging

from ser_nsl.errors import InputError
from ser_nsl.upstream.config import EXTRACTOR_FILES
from ser_nsl.upstream.weights import PICKLE, WEIGHT_FILES, require_torch


def checkpoint_folder(upstream: str) -> Path:
    """Finds a checkpoint's files, and downloads those that the cache lacks.

    Args:
        upstream: A folder, or a hub name, `name@revision` for a branch, tag or commit. A folder's
            own name may contain an `@`.

    Returns:
        Folder with `config.json`, the first of `EXTRACTOR_FILES` that the checkpoint has, and the
        first of `WEIGHT_FILES`.

    Raises:
        InputError: If there is no such folder, name or revision, the hub cannot be reached and
            the cache lacks a file, or only PyTorch can read the weights and it is missing.
    """
    if Path(upstream).is_dir():
        return Path(upstream)
    name, at, revision = upstream.partition("@")
    if at and Path(name).is_dir():
        raise InputError(
            f"upstream: {name} is a folder, and folders have no revisions; received {upstream!r}, "
            f"give {name}."
        )
    # Without a network, the hub is tried for half a minute; so typing errors are found before.
    if name.startswith((".", "/")) or (not at and "/" in name and Path(name).parent.is_dir()):
        raise InputError(
            f"upstream: {upstream} is not a folder{_nearest(name)}; give a checkpoint's folder, or "
            "a hub name with its revision, such as facebook/wav2vec2-base@main."
        )
    if at and not revision:
        raise InputError(
            f"upstream: a branch, tag or commit must follow the @; received {upstream!r}."
        )
    config = _fetch(upstream, name, "config.json", revision or "main")
    if config is None:
        raise InputError(
            f"upstream: {upstream!r} has no config.json on the hub; it must be a speech model "
            "in Hugging Face form."
        )
    # All other files come from the same commit, even if the branch moves meanwhile.
    folder, commit = config.parent, config.parent.name
    for file in EXTRACTOR_FILES:
        if _fetch(upstream, name, file, commit) is not None:
            break
    if not any((folder / file).is_file() for file in WEIGHT_FILES):
        for file in WEIGHT_FILES:
            if file == PICKLE:
                require_torch(upstream)  # before the download
            if _fetch(upstream, name, file, commit) is not None:
                break
    return folder


def _nearest(name: str) -> str:
    """Names the folder with the most similar name beside it, if there is one."""
    parent = Path(name).parent
    beside = [str(path) for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
    near = difflib.get_close_matches(str(Path(name)), beside, n=1)
    return f" (nearest: {near[0]})" if near else ""


def _fetch(upstream: str, name: str, file: str, revision: str) -> Path | None:
    """Downloads a file unless the cache has it; returns None if the checkpoint has no such file."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # or else it prints every retry before the line that matters
    try:
        return Path(hf_hub_download(name, file, revision=revision))
    except (OSError, ValueError) as error:
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            return None
        problem = _problem(error, name, file, revision)
        raise InputError(f"upstream: {upstream!r} {problem}.") from error
    finally:
        logging.set_verbosity(verbosity)


def _problem(error: Exception, name: str, file: str, revision: str) -> str:
    """Returns what is wrong and what to do about it."""
    if isinstance(error, HFValidationError):
        return (
            "is neither a folder nor a hub name, owner/name or owner/name@revision; check the name"
        )
    if isinstance(error, RepositoryNotFoundError):
        return "is not on the hub, or needs a login; check the name, or run: hf auth login"
    if isinstance(error, RevisionNotFoundError):
        return f"has no revision {revision!r}; give a branch, tag or commit after the @"
    return (
        f"is not a folder, and its {file} is neither in the cache nor can it be downloaded. Where "
        f"there is a network, run: hf download {name} --revision {revision} --local-dir FOLDER, "
        "and give that folder "
        f"({str(error).strip().splitlines()[0]})"
    )
