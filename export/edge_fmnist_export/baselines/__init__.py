"""Classical baselines beside the networks: xgboost and scikit-learn on the same images, with the same metrics."""
