"""Recipes, training runs, distillation and augmentation."""
