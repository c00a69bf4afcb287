"""TensorFlow, as `ser_nsl.lazy` imports it."""

from ser_nsl.lazy import tf

__all__ = ["tf"]
