"""Backbone, decoder with the last shared layer, one light head per task, and the network of them."""

from mtl_vision.models.backbone import Backbone, TimmBackbone
from mtl_vision.models.decoder import ConvHead, Decoder, Fusion, Head, LinearHead
from mtl_vision.models.network import Network, TaskHead

__all__ = ["Backbone", "ConvHead", "Decoder", "Fusion", "Head", "LinearHead", "Network", "TaskHead", "TimmBackbone"]
