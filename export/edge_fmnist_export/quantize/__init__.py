"""Quantization-aware training, conversion and export."""
