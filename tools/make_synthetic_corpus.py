"""Makes a synthetic corpus in the layout of a real one."""

from ser_nsl.cli import run
from ser_nsl.corpora.synthetic import make_synthetic_corpus

if __name__ == "__main__":
    run(make_synthetic_corpus)
