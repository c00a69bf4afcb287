"""From audio folders to a manifest."""

from ser_nsl.corpora.prepare import CORPORA, prepare_corpus

__all__ = ["CORPORA", "prepare_corpus"]
