"""Floor 1: samples, the adapters that read them, geometry that moves them, and the loader."""
