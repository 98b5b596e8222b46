"""The door to mtl_vision.export, and what belongs to deployment."""
