"""Make, convert and check data sets from a checkout; installed it is `mtl-data`."""

import sys

from mtl_vision.prepare import main

if __name__ == "__main__":
    sys.exit(main())
