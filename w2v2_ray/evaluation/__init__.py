"""What a trained model or a finished run is worth."""
