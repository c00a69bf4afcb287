"""HuBERT (arXiv 2106.07447): the network of wav2vec 2.0, trained on clusters of its own frames."""

from __future__ import annotations

from ser_nsl.upstream.wav2vec2 import Wav2Vec2Encoder


class HubertEncoder(Wav2Vec2Encoder):
    """A HuBERT without its head."""
