"""Model files: loading, metadata, labels, predictions."""
