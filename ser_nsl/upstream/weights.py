"""The weights of a checkpoint, from any of three kinds of files."""

from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import h5py
import numpy as np
import tensorflow as tf
from packaging.version import Version
from safetensors.tensorflow import load_file

from ser_nsl.errors import InputError, refuse

PICKLE = "pytorch_model.bin"
_SAFE_TORCH = "2.6"  # older ones may run code of a pickle despite weights_only (CVE-2025-32434)
_PYTORCH_KINDS = {"kernel": "weight", "gamma": "weight", "beta": "bias"}
_NEW_WEIGHT_NORM = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}


def read_weights(folder: Path, upstream: str) -> dict[str, np.ndarray]:
    """Reads a checkpoint's weights, whichever program wrote them.

    Args:
        folder: Folder with `model.safetensors`, `tf_model.h5` or `pytorch_model.bin`; the first
            that is there is read.
        upstream: Name of the checkpoint in messages.

    Returns:
        float32 arrays with PyTorch's names and axes; weight norm is `weight_g` and `weight_v`.

    Raises:
        InputError: If none of the files is there, it cannot be read, a weight is not finite or not
            of floating-point numbers, or PyTorch is missing.
    """
    path = next((folder / file for file in WEIGHT_FILES if (folder / file).is_file()), None)
    if path is None:
        shards = sorted(file.name for file in folder.glob("*-of-*"))
        raise InputError(
            f"upstream: {upstream!r} has no weights; it needs one of {', '.join(WEIGHT_FILES)}."
            + (f" Save its shards ({shards[0]}, ...) as one file." if shards else "")
        )
    if path.name == PICKLE:
        require_torch(upstream)
    try:
        weights = _READERS[path.name](path)
    except Exception as error:  # a damaged file, or a type that NumPy lacks, may raise anything
        cause = str(error).strip().splitlines()
        raise InputError(
            f"upstream: {path.name} of {upstream!r} cannot be read; download it again. "
            f"({cause[0] if cause else type(error).__name__})"
        ) from error
    refuse(
        [key for key, value in weights.items() if value.ndim and "float" not in value.dtype.name],
        f"upstream: {path.name} of {upstream!r} holds weights that are no floating-point numbers",
        "Choose a checkpoint that was not quantised.",
    )
    refuse(
        [key for key, value in weights.items() if not np.isfinite(value.astype(np.float32)).all()],
        f"upstream: {path.name} of {upstream!r} holds weights that are NaN or infinite",
        "Make or download it again.",
    )
    return {name: value.astype(np.float32) for name, value in weights.items()}


def require_torch(upstream: str) -> None:
    """Checks that PyTorch is installed and reads pickles without running their code.

    Args:
        upstream: Name of the checkpoint in messages.

    Raises:
        InputError: If PyTorch is missing or too old.
    """
    try:
        safe = Version(metadata.version("torch")) >= Version(_SAFE_TORCH)
    except metadata.PackageNotFoundError:
        safe = False
    if not safe:
        raise InputError(
            f"upstream: {upstream!r} has neither {' nor '.join(WEIGHT_FILES[:-1])}, and reading "
            f"{PICKLE} needs PyTorch {_SAFE_TORCH} or newer; run: pip install 'ser-nsl[torch]'"
        )


def weight_name(variable: tf.Variable) -> str:
    """Returns PyTorch's name of a variable, whatever the name of the model.

    Args:
        variable: Variable of a model of transformers.

    Returns:
        The name, without that of the model, e.g. `encoder.layer_norm.weight`.
    """
    return _pytorch_name(variable.name.partition("/")[2])


def fitting(variable: tf.Variable, weights: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Finds the value of a variable.

    Args:
        variable: Variable of a model of transformers.
        weights: Result of `read_weights`.

    Returns:
        Array of the variable's shape; None if there is no such weight or it has another size.
    """
    value = weights.get(weight_name(variable))
    if value is None:
        return None
    value = _swap_axes(variable.name, value)
    return value if value.shape == variable.shape else None


def to_pytorch(variable: tf.Variable) -> np.ndarray:
    """Returns the value of a variable with PyTorch's axes."""
    return _swap_axes(variable.name, variable.numpy())


def _pytorch_name(name: str) -> str:
    """Converts a name of TensorFlow such as `wav2vec2/encoder/layer_norm/gamma:0`."""
    *modules, kind = name.removesuffix(":0").split("/")
    return ".".join((*modules, _PYTORCH_KINDS.get(kind, kind)))


def _swap_axes(name: str, value: np.ndarray) -> np.ndarray:
    """Converts TensorFlow's axes to PyTorch's, and back; `name` is TensorFlow's."""
    return value.T if name.removesuffix(":0").endswith(("/kernel", "/weight_g")) else value


def _from_tensorflow(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {_pytorch_name(name): _swap_axes(name, value) for name, value in weights.items()}


def _from_pytorch(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    renamed = {}
    for name, value in weights.items():
        for new, old in _NEW_WEIGHT_NORM.items():
            name = name.replace(new, old)
        if name in renamed:
            raise ValueError(f"it holds {name} twice")
        renamed[name] = value
    return renamed


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    weights = {name: value.numpy() for name, value in load_file(path).items()}
    is_tensorflow = any("/" in name for name in weights)
    return (_from_tensorflow if is_tensorflow else _from_pytorch)(weights)


def _read_h5(path: Path) -> dict[str, np.ndarray]:
    weights = {}

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            weights[name.split("/", 2)[-1]] = np.asarray(item)  # without layer and model

    with h5py.File(path) as file:
        file.visititems(visit)
    return _from_tensorflow(weights)


def _read_pickle(path: Path) -> dict[str, np.ndarray]:
    import torch

    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        floats = {n: v.float() if v.is_floating_point() else v for n, v in weights.items()}
        arrays = {name: value.numpy() for name, value in floats.items()}
    # A broken pickle may raise anything, and PyTorch's own message explains how to run its code.
    except Exception as error:
        raise ValueError("it is broken, or holds more than tensors") from error
    return _from_pytorch(arrays)


_READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    "model.safetensors": _read_safetensors,
    "tf_model.h5": _read_h5,
    PICKLE: _read_pickle,
}
WEIGHT_FILES = tuple(_READERS)  # in the order of preference
