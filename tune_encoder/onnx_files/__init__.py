"""Write an encoder as ONNX files, checked against torch, and score what they predict."""

from tune_encoder.onnx_files.predicting import predict_pack
from tune_encoder.onnx_files.writing import write_onnx

__all__ = ["predict_pack", "write_onnx"]
