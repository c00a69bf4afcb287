"""Where a checkpoint lies: a local folder, or the hub's files brought into the local cache."""

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
from ser_nsl.upstream.weights import PICKLE, WEIGHT_FILES, require_torch


def checkpoint_folder(upstream: str) -> Path:
    """Finds a checkpoint's files, and downloads those that the cache lacks.

    Args:
        upstream: A folder, or a hub name, `name@revision` for a branch, tag or commit. A folder's
            own name may hold an `@`.

    Returns:
        Folder with `config.json`, the checkpoint's `preprocessor_config.json` if it has one, and
        of its weights those that are read first.

    Raises:
        InputError: If there is no such folder, name or revision, the hub cannot be reached and
            the cache lacks a file, or the weights are such that PyTorch must read them and it is
            missing.
    """
    if Path(upstream).is_dir():
        return Path(upstream)
    name, at, revision = upstream.partition("@")
    if at and Path(name).is_dir():
        raise InputError(
            f"upstream: {name} is a folder, and folders have no revisions; received {upstream!r}, "
            f"give {name}."
        )
    if name.startswith((".", "/")):
        raise InputError(
            f"upstream: {upstream} is not a folder{_nearest(name)}; give a checkpoint's folder or "
            "hub name."
        )
    if at and not revision:
        raise InputError(
            f"upstream: a branch, tag or commit must follow the @; received {upstream!r}."
        )
    if not at and "/" in name and Path(name).parent.is_dir():
        raise InputError(  # now: without a network, the hub is tried for half a minute
            f"upstream: {name} is not a folder{_nearest(name)}; if it is a name of the hub, say "
            f"so by its revision, {name}@main."
        )
    config = _fetch(upstream, name, "config.json", revision or "main")
    if config is None:
        raise InputError(
            f"upstream: {upstream!r} has no config.json on the hub; it must be a wav2vec 2.0 in "
            "Hugging Face form."
        )
    # From here on one commit, even if the branch moves meanwhile.
    folder, commit = config.parent, config.parent.name
    _fetch(upstream, name, "preprocessor_config.json", commit)
    if not any((folder / file).is_file() for file in WEIGHT_FILES):
        _fetch_weights(upstream, name, commit)
    return folder


def _nearest(name: str) -> str:
    """Tells of the folder beside it whose name is most like it, if there is one."""
    parent = Path(name).parent
    beside = [str(path) for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
    near = difflib.get_close_matches(str(Path(name)), beside, n=1)
    return f" (nearest: {near[0]})" if near else ""


def _fetch_weights(upstream: str, name: str, commit: str) -> None:
    for file in WEIGHT_FILES:
        if file == PICKLE:
            require_torch(upstream)  # before, not after the download
        if _fetch(upstream, name, file, commit) is not None:
            return


def _fetch(upstream: str, name: str, file: str, revision: str) -> Path | None:
    """Downloads one file unless the cache has it; None where the checkpoint has no such file."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # else it tells of every try, before the one line that counts
    try:
        return Path(hf_hub_download(name, file, revision=revision))
    except HFValidationError as error:
        raise InputError(
            f"upstream: {upstream!r} is neither a folder nor a name of the hub, which has the form "
            "owner/name or owner/name@revision; give a checkpoint's folder or such a name, or make "
            "a small checkpoint with tools/make_upstream.py."
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"upstream: {upstream!r} is no folder and no checkpoint of the hub, or one that needs "
            "a login; check the name, or run: hf auth login"
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(
            f"upstream: {name} has no revision {revision!r}; received {upstream!r}, give a branch, "
            "tag or commit of it after the @."
        ) from error
    except (OSError, ValueError) as error:
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            return None
        raise InputError(
            f"upstream: {upstream!r} is neither a folder nor a checkpoint of the hub that can be "
            f"reached from here: looked for its {file}. Where there is a network, run: hf download "
            f"{name} --revision {revision} --local-dir FOLDER, and give that folder; or make a "
            f"small one with tools/make_upstream.py. ({str(error).strip().splitlines()[0]})"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
