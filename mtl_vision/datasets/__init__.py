"""Data sets on disk: what a folder holds, how its files are read, and the samples that they make."""
