"""Downloads RAVDESS or EmoDB from its official archive, or says where to ask for a corpus."""

from ser_nsl.cli import run
from ser_nsl.corpora.download import download_corpus

if __name__ == "__main__":
    run(download_corpus)
