"""Make, convert and check data sets from a checkout; installed it is `mtl-data`."""

import sys

from mtl_vision.commands import data

if __name__ == "__main__":
    sys.exit(data())
