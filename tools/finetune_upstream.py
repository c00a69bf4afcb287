"""Fine-tunes a wav2vec 2.0 checkpoint on the emotions of the source corpus."""

from ser_nsl.cli import run
from ser_nsl.upstream.finetune import finetune_upstream

if __name__ == "__main__":
    run(finetune_upstream)
