"""Run an exported model over images: python infer.py MODEL.onnx PATHS... --out DIR."""

import sys

if __name__ == "__main__":
    try:
        from mtl_vision.runtime.__main__ import main
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(main())
