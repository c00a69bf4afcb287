"""The corpora that scripts know by name.

A corpus is a module with `read_clip`, a `Reader`, and where it is one that was published also with
`TITLE` (as people call it), `LICENCE` (the terms, in words) and `EMOTIONS` (by the code in a
file's name).
"""

from typing import Literal

from ser_nsl.corpora import demos, emodb, emovo, folder, ravdess
from ser_nsl.corpora.layout import Reader

CorpusName = Literal["ravdess", "demos", "emovo", "emodb", "folder", "csv"]
"""The choices of scripts: the keys of `CORPORA`, and `csv`, which needs no reader."""

_MODULES = {"ravdess": ravdess, "demos": demos, "emovo": emovo, "emodb": emodb, "folder": folder}
_PUBLISHED = {name: module for name, module in _MODULES.items() if module is not folder}

CORPORA: dict[str, Reader] = {name: module.read_clip for name, module in _MODULES.items()}
"""From the name of a corpus to what reads the names of its files."""

EMOTIONS: dict[str, dict[str, str]] = {name: each.EMOTIONS for name, each in _PUBLISHED.items()}
TITLES: dict[str, str] = {name: each.TITLE for name, each in _PUBLISHED.items()}
LICENCES: dict[str, str] = {name: each.LICENCE for name, each in _PUBLISHED.items()}
