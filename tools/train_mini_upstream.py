"""Trains the small upstream that ships again, measures it and writes its card."""

from ser_nsl.cli import run
from ser_nsl.upstream.mini import train_mini_upstream

if __name__ == "__main__":
    run(train_mini_upstream)
