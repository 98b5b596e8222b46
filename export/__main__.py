"""Export a trained run as one ONNX file: python -m export --help"""

import sys

from mtl_vision.export.cli import main

if __name__ == "__main__":
    sys.exit(main())
