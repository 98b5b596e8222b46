"""The door to mtl_vision.export. The page's sources are in mtl_vision/export/web, so that the wheel has them."""
