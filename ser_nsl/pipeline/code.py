"""The code of a stage as a hash, so that an output is not up to date when its code has changed."""

import ast
import functools
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

_PACKAGE = "ser_nsl"
_ROOT = Path(__file__).parents[1]
# They decide where a result goes and what is said of it, not what it is.
_KEEPERS = ("fingerprint", "hashes", "lock", "output", "record", "stage", "unfinished")
_APART = (f"{_PACKAGE}.errors", __name__, *(f"{_PACKAGE}.pipeline.{name}" for name in _KEEPERS))


def code_hash(module: str) -> str:
    """Hashes the code of a module, and of everything that it imports from this package.

    Comments, docstrings and the form of the text do not count. No module is imported for this.

    Args:
        module: Name of an imported module, of this package or of a user's own.

    Returns:
        Hexadecimal digits of BLAKE2.

    Example:
        >>> code_hash("ser_nsl.graph.build") == code_hash("ser_nsl.graph.select")
        False
    """
    digest, waiting, seen = hashlib.blake2b(digest_size=16), [module], set(_APART)
    parts = {}
    while waiting:
        name = waiting.pop()
        path = _source(name)
        if name in seen or path is None:
            continue
        seen.add(name)
        parts[name], imported = _read(path, path.stat().st_mtime_ns)
        waiting += imported
    for name, part in sorted(parts.items()):
        digest.update(f"{name} {part}\n".encode())
    return digest.hexdigest()


def _source(module: str) -> Path | None:
    """The file of a module; None for those without one, such as that of a prompt."""
    if module.partition(".")[0] != _PACKAGE:
        file = getattr(sys.modules.get(module), "__file__", None)
        return Path(file) if file and file.endswith(".py") else None
    path = _ROOT.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache
def _read(path: Path, changed: int) -> tuple[str, tuple[str, ...]]:
    """Hash of a file's code, and the modules of this package that it imports."""
    source = path.read_bytes()
    try:
        tree = ast.parse(source)
    except SyntaxError:  # someone is editing it
        return hashlib.blake2b(source, digest_size=16).hexdigest(), ()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [each for each in node.body if not _is_text(each)]
    code = hashlib.blake2b(ast.dump(tree).encode(), digest_size=16).hexdigest()
    return code, tuple(_imports(tree))


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is nothing but a text, as docstrings are."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imports(tree: ast.Module) -> Iterator[str]:
    """Modules of this package that are imported anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.startswith(f"{_PACKAGE}."))
        elif isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{_PACKAGE}."):
            yield from (_module_of(str(node.module), each.name) for each in node.names)


def _module_of(package: str, name: str) -> str:
    """The module in which `from package import name` finds the name."""
    folder = _ROOT.joinpath(*package.split(".")[1:])
    if (folder / f"{name}.py").exists() or (folder / name).is_dir():
        return f"{package}.{name}"
    return _exported(folder / "__init__.pyi", package).get(name, package)


@functools.cache
def _exported(stub: Path, package: str) -> dict[str, str]:
    """From the names that a package lends from its modules to these modules."""
    if not stub.exists():
        return {}
    return {
        name.name: f"{package}.{node.module}"
        for node in ast.parse(stub.read_bytes()).body
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for name in node.names
    }
