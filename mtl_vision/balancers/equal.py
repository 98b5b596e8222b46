"""Equal weights: w_i = 1 for every task, always."""

from mtl_vision.balancers.base import Balancer


class Equal(Balancer):
    """Equal weights, L = sum_i L_i."""
