"""From a trained run to one ONNX file that describes itself."""
