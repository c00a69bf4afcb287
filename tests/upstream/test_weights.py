import contextlib
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ser_nsl.errors import InputError
from ser_nsl.upstream.checkpoint import load_for_finetuning, load_upstream
from ser_nsl.upstream.weights import WEIGHT_FILES, fitting, read_weights, weight_name

GROUP = Path(__file__).parent / "fixtures" / "group"
EMOTIONS = ("anger", "joy", "sadness")


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    return shutil.copytree(GROUP, tmp_path / "checkpoint")


def test_names_and_axes_of_tensorflow_become_pytorchs(checkpoint, tmp_path):
    model, _ = load_for_finetuning(str(checkpoint), EMOTIONS)
    model.save_pretrained(tmp_path / "tensorflow")

    written_by_pytorch = read_weights(checkpoint, "it")
    written_by_tensorflow = read_weights(tmp_path / "tensorflow", "it")

    assert written_by_tensorflow.keys() == written_by_pytorch.keys()
    for name, value in written_by_tensorflow.items():
        np.testing.assert_array_equal(value, written_by_pytorch[name], err_msg=name)


def test_variables_find_their_weight_by_name_and_size(checkpoint):
    model, _ = load_for_finetuning(str(checkpoint), EMOTIONS)
    weights = read_weights(checkpoint, "it")

    assert {weight_name(variable) for variable in model.weights} == weights.keys()
    kernel = model.projector.kernel
    np.testing.assert_array_equal(fitting(kernel, weights), weights["projector.weight"].T)
    assert fitting(kernel, {}) is None
    assert fitting(kernel, {"projector.weight": np.zeros((16, 256), np.float32)}) is None


def test_halves_are_widened(checkpoint):
    path = checkpoint / "model.safetensors"
    weights = load_file(path)
    save_file({k: v.astype(np.float16) for k, v in weights.items()}, path)

    for name, value in read_weights(checkpoint, "it").items():
        assert value.dtype == np.float32
        if name in weights:
            np.testing.assert_allclose(value, weights[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused(value, checkpoint):
    path = checkpoint / "model.safetensors"
    weights = load_file(path)
    weights["projector.bias"][7] = value
    save_file(weights, path)

    with pytest.raises(InputError, match=r"'it' .*\(1; first: projector.bias\)"):
        read_weights(checkpoint, "it")


@pytest.mark.parametrize("prefix", ["", "wav2vec2."])
def test_tensor_that_is_there_twice_is_refused(prefix, checkpoint):
    """With and without the model's name, or in the old and in the new form of weight norm."""
    path, name = checkpoint / "model.safetensors", "encoder.pos_conv_embed.conv.weight_g"
    weights = load_file(path)
    save_file(weights | {f"{prefix}{name}": np.ones((1, 1, 8), np.float32)}, path)

    with pytest.raises(InputError, match=rf"{name} twice|twice, with and without .*{name}"):
        load_upstream(str(checkpoint))


def test_folder_without_weights_is_refused(checkpoint):
    (checkpoint / "model.safetensors").unlink()

    with pytest.raises(InputError, match=f"upstream: 'it' .*{', '.join(WEIGHT_FILES)}"):
        read_weights(checkpoint, "it")


@pytest.mark.parametrize("name", ["model.safetensors", "tf_model.h5"])
@pytest.mark.parametrize("content", [b"", b"cut off"])
def test_weights_that_cannot_be_read_are_refused(name, content, checkpoint):
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / name).write_bytes(content)

    with pytest.raises(InputError, match=f"upstream: {name} of 'it'"):
        read_weights(checkpoint, "it")


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, bool])
def test_weights_without_their_scales_are_refused(dtype, checkpoint):
    path = checkpoint / "model.safetensors"
    weights = load_file(path)
    name = "wav2vec2.feature_projection.projection.weight"
    counter = {"norm.num_batches_tracked": np.array(7)}  # as batch normalisation has it
    save_file(weights | counter, path)
    read_weights(checkpoint, "it")
    save_file(weights | {name: (100 * weights[name]).astype(dtype)}, path)

    with pytest.raises(InputError, match=rf"'it' holds .* floating.*\(1; first: {name}\)"):
        read_weights(checkpoint, "it")


def test_type_that_numpy_lacks_is_refused(checkpoint):
    path = checkpoint / "model.safetensors"
    head = b'{"weight": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}'
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"\x38\x38")

    with pytest.raises(InputError, match=r"model\.safetensors of 'it' cannot be read"):
        read_weights(checkpoint, "it")


def test_hdf5_damaged_anywhere_is_read_or_refused(tmp_path):
    path = tmp_path / "tf_model.h5"
    with h5py.File(path, "w") as file:
        file["layer/model/encoder/kernel:0"] = np.ones((2, 3), np.float32)
    content = path.read_bytes()

    for place in range(0, 1_000, 8):
        path.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        with contextlib.suppress(InputError):
            read_weights(tmp_path, "it")


def test_hdf5_that_holds_text_is_refused(tmp_path):
    with h5py.File(tmp_path / "tf_model.h5", "w") as file:
        file["layer/model/note:0"] = "text"
        file["layer/model/notes:0"] = ["some", "text"]

    with pytest.raises(InputError, match=r"tf_model\.h5 of 'it'"):
        read_weights(tmp_path, "it")


def test_shards_are_named(checkpoint):
    shard = checkpoint / "model-00001-of-00002.safetensors"
    (checkpoint / "model.safetensors").rename(shard)

    with pytest.raises(InputError, match=f"'it' has no weights.*{shard.name}"):
        read_weights(checkpoint, "it")


def test_hdf5_of_something_else_is_refused(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    with h5py.File(checkpoint / "tf_model.h5", "w") as file:
        file["numbers"] = np.arange(3.0)

    with pytest.raises(InputError, match=r"lacks weights"):
        load_upstream(str(checkpoint))
