"""Explain a model's prediction: the importance of each pixel, by SHAP, LIME, occlusion or Grad-CAM."""

# The methods, and how they are written in figures.
NAMES = {"shap": "SHAP", "lime": "LIME", "occlusion": "Occlusion", "gradcam": "Grad-CAM"}
