"""Data sets on disk: what a folder holds, how its files are read, and the samples that they make."""


class DataError(Exception):
    """The data are not as expected; the message names the file, what was expected and what to do."""
