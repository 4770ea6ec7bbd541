"""Where the driver passes a run's figures on to: Prometheus through Ray, MLflow, Weights & Biases."""
