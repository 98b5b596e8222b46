"""Train a multitask network: python train.py --help"""

import sys

if __name__ == "__main__":
    from mtl_vision.engine.cli import main  # here, so that worker processes start without torch

    sys.exit(main())
