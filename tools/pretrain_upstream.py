"""Teaches an upstream from speech without labels: a new one, or one to be adapted to a corpus."""

from ser_nsl.cli import run
from ser_nsl.upstream.pretrain import pretrain_upstream

if __name__ == "__main__":
    run(pretrain_upstream)
