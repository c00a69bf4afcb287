"""Several TFLite models as one file, each computing on the output of the one before."""

from collections.abc import Sequence
from typing import Any

import flatbuffers
from mediapipe.tasks.metadata import schema_py_generated as schema


def chain(models: Sequence[bytes]) -> bytes:
    """Joins models: the output of each becomes the input of the next.

    The converter can only quantise whole models. So the parts that must stay exact are converted
    on their own.

    Args:
        models: Flatbuffers of one subgraph and one signature each, with one input and one output.
            An output has the shape and dtype of the next model's input.

    Returns:
        A flatbuffer of one subgraph, whose signature has the first model's input and the last
        model's output.
    """
    first, *others = (schema.ModelT.InitFromPackedBuf(model) for model in models)
    for other in others:
        _append(first, other)
    first.metadata = []  # it describes the first model only
    return pack(first, b"TFL3")


def pack(table: Any, identifier: bytes) -> bytes:
    """Serialises a table of a flatbuffer schema, e.g. `schema.ModelT`."""
    builder = flatbuffers.Builder()
    builder.Finish(table.Pack(builder), identifier)
    return bytes(builder.Output())


def _append(model: schema.ModelT, other: schema.ModelT) -> None:
    (graph,), (added,) = model.subgraphs, other.subgraphs
    (joint,), (added_input,) = graph.outputs, added.inputs
    tensors, buffers, codes = len(graph.tensors), len(model.buffers), len(model.operatorCodes)

    def new_index(tensor: int) -> int:
        """Index in the joined graph of a tensor of the added one; -1 means no tensor."""
        return joint if tensor == added_input else tensor + tensors * (tensor >= 0)

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
    graph.outputs = [new_index(tensor) for tensor in added.outputs]
    model.signatureDefs[0].outputs = other.signatureDefs[0].outputs
    for output in model.signatureDefs[0].outputs:
        output.tensorIndex = new_index(output.tensorIndex)
