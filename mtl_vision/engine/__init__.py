"""Floor 2: puts a run together from the config, trains, measures and keeps it."""
