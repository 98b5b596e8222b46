"""What ours is compared with has the size that is said, and gives the maps that it is for."""

from __future__ import annotations

import torch

from benchmarks.normals_network import NormalsNetwork
from benchmarks.rivals import taken


def test_the_network_for_normals() -> None:
    network = NormalsNetwork().eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == 72_564_759
    with torch.no_grad():
        normals = network(torch.randn(1, 3, 64, 96))
    assert normals.shape == (1, 3, 64, 96)
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(1, 64, 96))


def test_sizes_are_the_nearest_that_a_network_takes() -> None:
    assert taken("depth_anything_v2_small", (240, 320)) == (238, 322)
    assert taken("segformer_b0", (240, 320)) == (240, 320)
