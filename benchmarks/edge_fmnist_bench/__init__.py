"""The benchmark suite: accuracy, latency and size of int8 and float models, and a gate for continuous integration."""
