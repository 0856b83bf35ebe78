"""The zoo: every network of the published projects, trained, quantized and measured like ours."""
