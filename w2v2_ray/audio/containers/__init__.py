"""What audio files say of themselves, read from their own structure: decoders forgive it when that is wrong."""
