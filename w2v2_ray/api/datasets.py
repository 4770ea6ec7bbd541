"""Datasets from Python: make one of audio, open one, go through it, unpack it; by the names of the interface."""

from __future__ import annotations

from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.unpacking import unpack_dataset
from w2v2_ray.orchestration.ingest import prepare_dataset

prepare = prepare_dataset
open_dataset = SpeechDataset.open
unpack = unpack_dataset
