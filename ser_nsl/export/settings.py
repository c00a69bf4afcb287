"""The forms of a recogniser, and how far each may be from Keras."""

from typing import Literal

Form = Literal["float32", "float16", "dynamic", "int8"]
"""How the network's numbers are stored: 32 or 16 bits; weights in 8 bits; activations too."""

LARGEST_DIFFERENCE = {"float32": 1e-4, "float16": 1e-2}
"""Largest difference of a probability from Keras's; 16-bit weights are rounded by up to 5e-4."""

LARGEST_UAR_LOSS = 0.005
"""Largest loss of UAR, in [0, 1], that 8 bits may cost."""
