"""What a model file may hold, so that no code comes with data: layers of Keras, and pure operators.

Keras builds whatever class a file names, from whatever module, and some layers hold code or read
files; a SavedModel may hold operators that write files or call Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ser_nsl.lazy import tf

_KINDS = ("layers", "initializers", "regularizers", "constraints")
_MODULES = {"keras", *(f"keras.{kind}" for kind in (*_KINDS, "mixed_precision"))}
_OTHERS = {"Functional", "Sequential", "Policy", "__tuple__", "TensorShape"}
# They run code, load other models, or read the files that they name.
_REFUSED = {"Lambda", "TFSMLayer", "TextVectorization", "StringLookup", "IntegerLookup"}

# Of the operators with a state, these reach nothing but the model's own variables.
_OWN_STATE = {
    *("StatefulPartitionedCall", "While", "If", "Case", "NoOp", "Assert"),
    *("VarHandleOp", "ReadVariableOp", "DisableCopyOnRead", "AssignVariableOp"),
    *("ResourceGather", "ResourceGatherNd"),
    *("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3"),
    *("RandomUniform", "RandomStandardNormal", "TruncatedNormal", "RandomUniformInt"),
}
# Of those without, these read or write files or call Python all the same.
_OUTSIDE = ("File", "Dataset", "PyFunc", "Vocab", "Debug", "CopyHost")
_PARTS = {
    *("variable", "constant", "captured_tensor", "user_object"),
    *("function", "bare_concrete_function"),
}


def is_known(layer: tf.keras.layers.Layer) -> bool:
    """Returns whether a layer, or a model of layers, is of a class that model files may name."""
    kind = type(layer)
    ours = kind.__module__.partition(".")[0] in ("keras", "tf_keras")
    return ours and kind.__name__ in _known_classes()


def unknown_classes(config: Any) -> Iterator[str]:
    """Finds what the architecture of a model names besides known classes.

    Args:
        config: The architecture, as read from JSON.

    Yields:
        Names of classes, with their module where it is another.
    """
    if isinstance(config, dict):
        if config.keys() & {"class_name", "module", "registered_name"}:
            name, module = config.get("class_name"), config.get("module") or "keras"
            known = isinstance(name, str) and name in _known_classes()
            of_keras = str(module).removeprefix("tf_") in _MODULES
            if not (known and of_keras) or config.get("registered_name"):
                yield f"{name}" if of_keras else f"{module}.{name}"
        config = [*config.values()]
    if isinstance(config, list):
        for part in config:
            yield from unknown_classes(part)


@cache
def _known_classes() -> frozenset[str]:
    names = {
        name
        for kind in _KINDS
        for name, value in vars(getattr(tf.keras, kind)).items()
        if isinstance(value, type)
    }
    return frozenset(names - _REFUSED | _OTHERS)


def unknown_operators(path: Path) -> Iterator[str]:
    """Finds what a SavedModel would do besides computing with its own variables.

    Args:
        path: Folder of the SavedModel.

    Yields:
        Names of operators, and of parts that are read or run when a SavedModel is loaded.

    Raises:
        ValueError: If it is not a SavedModel of TensorFlow 2.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
    from tensorflow.python.framework import op_def_registry

    try:
        (graph,) = SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs
    except DecodeError as error:
        raise ValueError("it is no SavedModel") from error
    if not graph.object_graph_def.nodes:
        raise ValueError("it is no SavedModel of TensorFlow 2")
    for node in graph.object_graph_def.nodes:
        kind = node.WhichOneof("kind")
        if kind not in _PARTS:
            yield str(kind)
    functions = {each.signature.name: each for each in graph.graph_def.library.function}
    waiting, seen = [*graph.object_graph_def.concrete_functions], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for node in functions[name].node_def:
            for attribute in node.attr.values():
                waiting += [attribute.func.name, *(each.name for each in attribute.list.func)]
            if node.op in functions:
                waiting.append(node.op)
                continue
            operator = op_def_registry.get(node.op)
            pure = operator is not None and not operator.is_stateful or node.op in _OWN_STATE
            if not pure or any(word in node.op for word in _OUTSIDE):
                yield node.op
