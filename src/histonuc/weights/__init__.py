"""Shipped models: one ONNX file and one card each."""
