"""Analysis of a model: quantization layer by layer, and projections of its features."""
