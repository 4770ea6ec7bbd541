"""Fine-tuning with CTC: transcripts, augmentation and word errors."""
