"""The ablation: a recipe trained briefly as it is, and once with each ingredient taken away or added."""
