"""Several TFLite models as one file, each computing on outputs of those before."""

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
from mediapipe.tasks.metadata import schema_py_generated as schema


def chain(models: Sequence[bytes]) -> bytes:
    """Joins models: an input takes the output of that name of a model before.

    The converter can only quantise whole models. So the parts that must stay exact are converted
    on their own.

    Args:
        models: Flatbuffers of one subgraph and one signature each. Each input but the first
            model's is named like an output of a model before, and has its shape and dtype.

    Returns:
        A flatbuffer of one subgraph, whose signature has the first model's inputs and the last
        model's outputs. Its tensors have different names.

    Raises:
        KeyError: If no model before has an output of an input's name.
    """
    first, *others = (schema.ModelT.InitFromPackedBuf(model) for model in models)
    made = _by_name(first.signatureDefs[0].outputs)
    for other in others:
        made |= _append(first, other, made)
    last = {output.name.decode() for output in others[-1].signatureDefs[0].outputs}
    signature = first.signatureDefs[0]
    signature.outputs = [schema.TensorMapT(name, made[name]) for name in sorted(last)]
    first.subgraphs[0].outputs = [output.tensorIndex for output in signature.outputs]
    _name_apart(first.subgraphs[0].tensors)
    first.metadata = []  # it describes the first model only
    return pack(first, b"TFL3")


def pack(table: Any, identifier: bytes) -> bytes:
    """Serialises a table of a flatbuffer schema, e.g. `schema.ModelT`."""
    builder = flatbuffers.Builder()
    builder.Finish(table.Pack(builder), identifier)
    return bytes(builder.Output())


def _by_name(ends: Sequence[schema.TensorMapT]) -> dict[str, int]:
    return {end.name.decode(): end.tensorIndex for end in ends}


def _append(model: schema.ModelT, other: schema.ModelT, made: Mapping[str, int]) -> dict[str, int]:
    """Adds a model to another one; returns where its outputs are, by name."""
    (graph,), (added,) = model.subgraphs, other.subgraphs
    (signature,) = other.signatureDefs
    joints = {index: made[name] for name, index in _by_name(signature.inputs).items()}
    tensors, buffers, codes = len(graph.tensors), len(model.buffers), len(model.operatorCodes)

    def new_index(tensor: int) -> int:
        """Index in the joined graph of a tensor of the added one; -1 means no tensor."""
        return joints.get(tensor, tensor + tensors * (tensor >= 0))

    for tensor in added.tensors:
        tensor.buffer += buffers
    for operator in added.operators:
        operator.opcodeIndex += codes
        operator.inputs = [new_index(tensor) for tensor in operator.inputs]
        operator.outputs = [new_index(tensor) for tensor in operator.outputs]
    model.buffers += other.buffers
    model.operatorCodes += other.operatorCodes
    graph.tensors += added.tensors
    graph.operators += added.operators
    return {name: new_index(index) for name, index in _by_name(signature.outputs).items()}


def _name_apart(tensors: Sequence[schema.TensorT]) -> None:
    """Gives tensors of one name different ones, which converters to other formats need."""
    taken: set[bytes] = set()
    for number, tensor in enumerate(tensors):
        if tensor.name in taken:
            tensor.name += f"_{number}".encode()
        taken.add(tensor.name)
