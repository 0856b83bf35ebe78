"""From frames to results: preprocess, classify, smooth, in a loop over a source."""
