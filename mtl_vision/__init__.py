"""One network, one pass: depth, surface normals and segmentation of a picture of a room."""

__version__ = "0.1.0"
