"""The targets that a sample can have."""

KIND_OF = {
    "depth": "scalar_map",
    "normals": "unit_vector_map",
    "segmentation": "label_map",
    "instances": "label_map",
}
