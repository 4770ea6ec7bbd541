"""wav2vec 2.0 pre-training: masks, negatives and the contrastive loss."""
