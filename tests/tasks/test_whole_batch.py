"""What a loss takes from all parts of a batch: the value, and the gradient for each part."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_vision.tasks.whole_batch import largest, shared, total


def doubled(tensor: Tensor) -> Tensor:
    """Of another process, whose numbers are twice this one's."""
    return torch.stack([tensor, 2 * tensor])


def test_of_one_process_they_are_its_own() -> None:
    x = torch.tensor([1.0, 3.0], requires_grad=True)
    assert total(*x).tolist() == [1, 3] and largest(x.max()).item() == 3
    (total(*x)[1] ** 2).backward()
    assert x.grad is not None and x.grad.tolist() == [0, 6]


def test_of_two_processes_by_hand() -> None:
    """y = 3x here and there; the gradient is the sum of this process' 2y and of the other's, which is twice that."""
    x = torch.tensor(5.0, requires_grad=True)
    with shared(doubled):
        (y,) = total(x)
        assert y.item() == 15 and largest(x).item() == 10 and not largest(x).requires_grad
        assert total(torch.tensor(2), torch.tensor(3.0)).tolist() == [6, 9]
    assert total(x).item() == 5
    y.square().backward()  # without the context: as the graph was made in it
    assert x.grad is not None and x.grad.item() == 2 * 15 + 2 * (2 * 15)
