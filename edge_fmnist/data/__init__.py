"""Data sets: Fashion-MNIST's IDX files, photographs, drawn samples."""
