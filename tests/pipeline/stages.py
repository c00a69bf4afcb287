"""Small stages, and what tests of stages share."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ser_nsl.pipeline.stage import stage


@dataclass(frozen=True)
class Style:
    mark: str = "!"
    lists: Path | None = None


@stage(inputs=("source", "extra"), makes="file")
def shout(
    *,
    source: Path | str,
    out: Path,
    extra: Path | None = None,
    times: int = 1,
    style: Style = Style(),  # noqa: B008 (frozen)
) -> Mapping[str, int]:
    text = Path(source).read_text() if Path(source).exists() else str(source)
    out.write_text(text.upper() + times * style.mark)
    return {"letters": len(text), "dropped": []}


@stage(inputs=("folder",), makes="folder")
def collect(*, folder: Path, out: Path, setting: object = None) -> Mapping[str, int]:
    for path in sorted(folder.rglob("*.txt")):
        (out / path.name).write_text(path.read_text())
        look_at(path)
    return {"files": len(list(out.iterdir()))}


@stage(inputs=("folder",), makes="folder", resumes=True)
def collect_slowly(*, folder: Path, out: Path, setting: str = "") -> Mapping[str, int]:
    found = [path for path in sorted(folder.rglob("*.txt")) if not (out / path.name).exists()]
    for path in found:
        look_at(path)
        (out / path.name).write_text(path.read_text() + setting)
    return {"files": len(found)}


@stage(inputs=(), makes="folder")
def make_nothing(*, out: Path) -> Mapping[str, int]:
    return {}


def look_at(path: Path) -> None:
    """Does nothing, until a test wants trouble."""


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def kill_at_rename(patch, name: str, *, after: bool) -> None:
    """Ends the process, in effect, before or after a path gets this name."""
    for method in ("rename", "replace"):
        real = getattr(Path, method)

        def kill(path: Path, target: Path, real=real) -> Path:
            if Path(target).name != name:
                return real(path, target)
            if after:
                real(path, target)
            raise KeyboardInterrupt

        patch.setattr(Path, method, kill)
