"""The benchmark suite: what going to the edge costs and wins, and a gate for continuous integration."""
