"""Make, convert and check data sets: python data/prepare.py --help"""

import sys

from mtl_vision.prepare import main

if __name__ == "__main__":
    sys.exit(main())
