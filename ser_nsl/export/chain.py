"""TFLite models one after the other in one file."""

from collections.abc import Sequence

import flatbuffers
from mediapipe.tasks.metadata import schema_py_generated as schema


def chain(models: Sequence[bytes]) -> bytes:
    """Joins models so that each hears what the one before says.

    The converter quantises whole models only. So what has to stay exact is converted apart.

    Args:
        models: Flatbuffers of one subgraph and one signature each, with one input and one output,
            of the same shape and dtype where they meet.

    Returns:
        A flatbuffer of one subgraph, whose signature has the first one's input and the last one's
        output.
    """
    first, *others = (schema.ModelT.InitFromPackedBuf(model) for model in models)
    for other in others:
        _append(first, other)
    first.metadata = []  # of the first model only; it speaks of buffers and options
    builder = flatbuffers.Builder()
    builder.Finish(first.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _append(model: schema.ModelT, other: schema.ModelT) -> None:
    (graph,), (added,) = model.subgraphs, other.subgraphs
    (meeting,), (heard,) = graph.outputs, added.inputs
    tensors, buffers, codes = len(graph.tensors), len(model.buffers), len(model.operatorCodes)

    def numbered(number: int) -> int:
        """A tensor of the other graph in ours; -1 stands for none."""
        return meeting if number == heard else number + tensors * (number >= 0)

    for tensor in added.tensors:
        tensor.buffer += buffers
    for operator in added.operators:
        operator.opcodeIndex += codes
        operator.inputs = [numbered(number) for number in operator.inputs]
        operator.outputs = [numbered(number) for number in operator.outputs]
    model.buffers += other.buffers
    model.operatorCodes += other.operatorCodes
    graph.tensors += added.tensors
    graph.operators += added.operators
    graph.outputs = [numbered(number) for number in added.outputs]
    model.signatureDefs[0].outputs = other.signatureDefs[0].outputs
    for output in model.signatureDefs[0].outputs:
        output.tensorIndex = numbered(output.tensorIndex)
