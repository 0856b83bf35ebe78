"""Explain a model's prediction: the importance of each pixel, by SHAP, LIME, occlusion or Grad-CAM."""
