"""The report on a model: accuracy, mistakes, quantization, data and training on one page."""
