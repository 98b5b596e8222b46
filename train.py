"""Train a multitask network: python train.py --help"""

import sys

from mtl_vision.commands import train

if __name__ == "__main__":
    sys.exit(train())
