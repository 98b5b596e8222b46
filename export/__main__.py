"""Export a trained run as one ONNX file: python -m export --help"""

import sys

from mtl_vision.commands import export

if __name__ == "__main__":
    sys.exit(export())
