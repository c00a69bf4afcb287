"""The input and the output of a recogniser, as its file has them."""

from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter

from ser_nsl.edge import Recognizer


def tensors(file: Path) -> dict[str, dict[str, Any]]:
    """Reads what an app has to give to a recogniser, and what it gets.

    Args:
        file: The `.tflite` file.

    Returns:
        `input` and `output`, each with `name` (in the file's signature), `shape`, `dtype` and
        `range`; that of the input also with `sample_rate_hz`.
    """
    signature = Interpreter(model_path=str(file)).get_signature_runner()
    ((given, taken),) = signature.get_input_details().items()
    ((named, made),) = signature.get_output_details().items()
    return {
        "input": _describe(given, taken, (-1, 1))
        | {"sample_rate_hz": Recognizer(file).sample_rate_hz},
        "output": _describe(named, made, (0, 1)),
    }


def _describe(name: str, tensor: dict[str, Any], bounds: tuple[int, int]) -> dict[str, Any]:
    shape, dtype = tensor["shape"].tolist(), tensor["dtype"].__name__
    return {"name": name, "shape": shape, "dtype": dtype, "range": list(bounds)}
