import pytest

from ser_nsl.pipeline.arms import find_arm


def test_arms_with_a_share_of_wrong_edges():
    arm = find_arm("purity_60")

    assert (arm.control, arm.purity) == ("oracle", 0.6)
    for name in ("purity_101", "start_", "start_graph", "start_start_base"):
        with pytest.raises(KeyError):
            find_arm(name)
