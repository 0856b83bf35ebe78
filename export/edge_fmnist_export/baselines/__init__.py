"""Classical baselines: xgboost and scikit-learn on the same images and with the same metrics as the networks."""
