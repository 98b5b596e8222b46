"""Run an exported model over images: python infer.py MODEL.onnx PATHS... --out DIR."""

import sys

from mtl_vision.runtime.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
