"""Frames in, results out: preprocess, classify, smooth."""
