"""BEST-RQ pre-training (experimental): masked frames predict a random projection quantizer's labels."""
