"""Floor 0: what an exported model is, and how to run it over pictures. numpy, OpenCV and onnxruntime; never torch."""
