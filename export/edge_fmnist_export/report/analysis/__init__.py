"""What happens inside a model: quantization layer by layer, and how its features part the classes."""
