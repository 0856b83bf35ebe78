"""Experiments over many recipes: architecture search, the zoo of published networks, and ablation studies."""
