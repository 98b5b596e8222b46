"""From samples to batches: geometry, augmentation, the packed cache, the loader."""
