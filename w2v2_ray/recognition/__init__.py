"""From a trained model to words and their scores."""
