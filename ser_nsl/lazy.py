"""TensorFlow, imported when it is first used, since that takes seconds."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = lazy_loader.load("tensorflow")
