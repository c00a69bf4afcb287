import hashlib

import numpy as np
import pytest

pytest.importorskip("apache_beam")

from ser_nsl.beam.blocks import block_of, default_blocks
from ser_nsl.beam.edges import make_vectors
from ser_nsl.graph.vectors import read_vectors


def test_block_depends_on_the_id_alone():
    digest = hashlib.blake2b("clip é1".encode(), digest_size=8).hexdigest()

    assert block_of("clip é1", 7) == int(digest, 16) % 7
    assert block_of("clip é1", 1) == 0


def test_blocks_are_about_equal():
    counts = np.bincount([block_of(f"clip {i}", 10) for i in range(10_000)], minlength=10)

    assert len(counts) == 10
    assert 900 < counts.min() <= counts.max() < 1_100


@pytest.mark.parametrize(
    ("clips", "blocks"), [(0, 8), (10_000, 8), (1_600_001, 9), (10**8, 500), (10**9, 5_000)]
)
def test_blocks_are_many_enough_for_memory_and_for_workers(clips, blocks):
    assert default_blocks(clips) == blocks


def test_norms_are_those_of_the_reader(write_embeddings):
    random = np.random.default_rng(0)
    values = random.normal(size=(50, 37)).astype(np.float32) * np.logspace(-8, 4, 50)[:, np.newaxis]
    values = values.astype(np.float32)
    ids = [f"{i:02d}" for i in range(50)]
    read = read_vectors(sorted(write_embeddings(dict(zip(ids, values, strict=True))).iterdir()))

    made = make_vectors(ids, values.tobytes())

    assert made.ids == read.ids
    np.testing.assert_array_equal(made.values, read.values)
    np.testing.assert_array_equal(made.norms, read.norms)
    assert (made.norms == 1e-6).any()
