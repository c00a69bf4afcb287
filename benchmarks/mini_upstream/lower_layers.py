"""Makes `models/whisper-base-lower`: the first layers of Whisper's encoder.

    python -m benchmarks.mini_upstream.lower_layers --teacher openai/whisper-base \
        --out models/whisper-base-lower

They know most of emotion; what lies above knows words rather than voices.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser_nsl.cli import run_function
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage


@stage(inputs=("teacher",), makes="folder")
def keep_lower_layers(
    *, out: Path, teacher: str = "openai/whisper-base", layers: int = 3
) -> Mapping[str, Any]:
    """Writes the first layers of a Whisper's encoder as an upstream, float16.

    Layers below the last one are those of the whole encoder; the last one's frames pass the
    normalisation that follows an encoder's last layer.

    Args:
        out: Folder for the checkpoint in Hugging Face form.
        teacher: Folder or hub name of a Whisper.
        layers: Number of layers to keep, 1 up to those that there are.

    Returns:
        Numbers of layers and parameters, and bytes of the weights.

    Raises:
        InputError: If it is no Whisper, or has fewer layers.
    """
    from ser_nsl.upstream.checkpoint import load_upstream, new_encoder, save_encoder

    whole = load_upstream(teacher).encoder
    if whole.architecture != "whisper":
        raise InputError(f"teacher: must be a Whisper; {teacher} is a {whole.architecture}.")
    whole.check_layers((layers,))
    config = copy.deepcopy(whole.body.config)
    config.encoder_layers = config.num_hidden_layers = layers
    lower = new_encoder(config, whole.extractor)
    for name, variable in lower.weights.items():
        variable.assign(whole.weights[name])
    save_encoder(lower, out, half=True)
    return {
        "layers": layers,
        "parameters": lower.parameters,
        "bytes": (out / "model.safetensors").stat().st_size,
    }


if __name__ == "__main__":
    run_function(keep_lower_layers)
