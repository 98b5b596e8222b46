"""The one error of everything that reads data."""


class DataError(Exception):
    """The data are not as expected; the message names the file, what was expected and what to do."""
