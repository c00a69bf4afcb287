"""Puts a new folder in the place of an old one, so that a kill leaves one of them."""

import ctypes
import os
import shutil
from pathlib import Path

_HERE = -100  # AT_FDCWD: paths are relative to the working directory
_EXCHANGE = 2  # RENAME_EXCHANGE


def replace_folder(new: Path, out: Path) -> None:
    """Renames a folder to a name that another folder may have, which is then removed.

    Linux exchanges both in one step. Where the system or the disk cannot, the old one is renamed
    first; `restore_folder` brings it back if the process was killed between the two steps.

    Args:
        new: The new folder, on the same disk.
        out: Its new name.
    """
    former = _former(out)
    if not out.exists():
        new.rename(out)
    elif _exchange(new, out):
        former = new
    else:
        out.rename(former)
        new.rename(out)
    if former.exists():
        shutil.rmtree(former)


def restore_folder(out: Path) -> None:
    """Undoes what a kill in `replace_folder` has left.

    Args:
        out: The name that the folder should have.
    """
    former = _former(out)
    if former.exists():
        if out.exists():
            shutil.rmtree(former)
        else:
            former.rename(out)


def _former(out: Path) -> Path:
    return out.with_name(f".{out.name}.former")


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two paths; returns False where that cannot be done."""
    try:
        rename = ctypes.CDLL(None).renameat2  # not on other systems, nor with old C libraries
    except (AttributeError, OSError, TypeError):
        return False
    return rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0
