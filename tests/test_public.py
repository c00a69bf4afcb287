"""What is public is named in an `__all__`; this holds it to its documentation and its types."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import ser_nsl
from ser_nsl.networks import NETWORKS, NetworkName

MODULES = (
    "audio",
    "corpora",
    "edge",
    "embeddings",
    "errors",
    "evaluation",
    "export",
    "graph",
    "networks",
    "pipeline",
    "reports",
    "training",
    "upstream",
)


def public() -> Iterator[tuple[str, object]]:
    """Functions and classes, by full name."""
    for module_name in MODULES:
        module = importlib.import_module(f"ser_nsl.{module_name}")
        for name in module.__all__:
            item = getattr(module, name)
            if inspect.isroutine(item) or inspect.isclass(item):
                yield f"{module_name}.{name}", item


def functions(item: object) -> Iterator[tuple[str, object]]:
    """A function itself, or what a class of this project makes callable under a public name."""
    if inspect.isroutine(item):
        yield "", item
        return
    for name, member in vars(item).items():
        member = getattr(member, "__func__", member)  # of class methods
        handwritten = inspect.isfunction(member) and member.__module__ == item.__module__
        if handwritten and (name == "__init__" or not name.startswith("_")):
            if name == "__init__" and not member.__doc__:
                continue  # made by `dataclass` or `NamedTuple`
            yield name, member


def says_all_in_one_line(name: str) -> bool:
    """Of a method that is so simple that one line says what it takes and gives."""
    return name.count(".") > 1 and "\n" not in inspect.getdoc(FUNCTIONS[name])


NAMES = dict(public())
FUNCTIONS = {
    f"{name}.{inner}".rstrip("."): function
    for name, item in NAMES.items()
    for inner, function in functions(item)
}


def test_no_other_module_of_the_package_has_public_names():
    found = {
        module.name
        for module in pkgutil.iter_modules(ser_nsl.__path__)
        if hasattr(importlib.import_module(f"ser_nsl.{module.name}"), "__all__")
    }

    assert found == set(MODULES)


def test_every_public_module_has_a_page():
    pages = Path(__file__).parents[1] / "docs" / "api"

    assert {page.stem for page in pages.glob("*.md")} == set(MODULES)


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_a_docstring(name):
    assert re.match(r"[^\n]+[.:]\n?", inspect.getdoc(NAMES[name]) or "")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_parameter_is_annotated_and_documented(name):
    function, text = FUNCTIONS[name], inspect.getdoc(FUNCTIONS[name])
    if says_all_in_one_line(name):
        return
    parameters = inspect.signature(function).parameters.values()
    for parameter in parameters:
        if parameter.name not in ("self", "cls"):
            stars = {parameter.VAR_POSITIONAL: r"\*", parameter.VAR_KEYWORD: r"\*\*"}
            title = stars.get(parameter.kind, "") + parameter.name
            assert parameter.annotation is not parameter.empty, parameter
            assert re.search(rf"^    {title}: \S", text, re.MULTILINE), parameter


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_comes_back_is_annotated_and_documented(name):
    function, text = FUNCTIONS[name], inspect.getdoc(FUNCTIONS[name])
    gives = inspect.signature(function).return_annotation
    assert gives is not inspect.Signature.empty
    if gives not in (None, "None") and not says_all_in_one_line(name):
        assert "\nReturns:\n" in text or "\nYields:\n" in text
    body = re.sub(r'"""(?s:.*?)"""', "", inspect.getsource(inspect.unwrap(function)))
    if re.search(r"^ +raise ", body, re.MULTILINE):
        assert re.search(r"\nRaises:\n|raises `", text)


def test_registries_hold_the_choices_of_scripts():
    assert get_args(NetworkName) == tuple(NETWORKS)
