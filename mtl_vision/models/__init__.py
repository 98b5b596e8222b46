"""Floor 1: backbone (timm), fusion with the last shared layer, one light head a task, and the network of them."""

from mtl_vision.models.network import Network, TaskHead

__all__ = ["Network", "TaskHead"]
