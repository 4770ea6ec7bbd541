"""What attempts start from: a recogniser and a dataset that are in order."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
LETTERS = "ETAOINHSRDLUCMFWYPVBGKQJXZ'"
VOCABULARY = (*SPECIALS, "|", *LETTERS)
RATE_HZ = 16_000
CONVOLUTIONS = [[16, 10, 5], [16, 3, 2], [16, 3, 2], [16, 3, 2], [16, 3, 2], [16, 2, 2], [16, 2, 2]]
MODEL: dict[str, Any] = {
    "feature_encoder": {"conv_layers": CONVOLUTIONS, "norm": "layer_norm", "bias": True},
    "encoder": {
        "layers": 2,
        "dim": 24,
        "ffn_dim": 40,
        "heads": 4,
        "position_kernel": 16,
        "position_groups": 4,
        "norm_first": True,
        "hourglass": None,
    },
    "quantizer": {"entries": 8},
    "final_dim": 16,
    "normalize_waveform": True,
}
"""A network of milliseconds, of a form that every other program has."""


@dataclass(frozen=True)
class Workbench:
    """A folder that attempts share; its parts are made when they are first needed.

    Args:
        root: The folder.
    """

    root: Path

    @cached_property
    def recogniser(self) -> Path:
        """A model folder with random weights that hears something."""
        return self._model("recogniser", "own")

    @cached_property
    def huggingface(self) -> Path:
        """The same recogniser as a Hugging Face folder."""
        return self._model("huggingface", "huggingface")

    @cached_property
    def nvidia(self) -> Path:
        """The same recogniser as a checkpoint of the NVIDIA reference."""
        return self._model("nvidia.pt", "nvidia")

    @cached_property
    def speech(self) -> Path:
        """A WAV file of a second and a half."""
        path = self.root / "speech.wav"
        times = np.arange(RATE_HZ * 3 // 2) / RATE_HZ
        wave = 0.3 * np.sin(2 * np.pi * (300 + 900 * times) * times) * (0.6 + 0.4 * np.sin(9 * times))
        soundfile.write(path, wave, RATE_HZ)
        return path

    @cached_property
    def dataset(self) -> Path:
        """A dataset of a few utterances with transcripts."""
        from odd.answer import run_inside

        if (self.root / "dataset" / "dataset.json").exists():
            return self.root / "dataset"
        folder, lines = self.root / "source", []
        folder.mkdir(exist_ok=True)
        for number, text in enumerate(("THE RIVER", "A TIRED SOLDIER", "OFTEN HID")):
            wave = 0.2 * np.sin(np.arange(RATE_HZ * 2) * 0.05 * (number + 1))
            soundfile.write(folder / f"{number}.wav", wave, RATE_HZ)
            lines.append(json.dumps({"audio_filepath": f"{number}.wav", "text": text}))
        (folder / "list.jsonl").write_text("\n".join(lines) + "\n")
        answer = run_inside(["prepare", "source/list.jsonl", "--out", "dataset"], self.root)
        if answer.exit_code:
            raise RuntimeError(f"the dataset of the workbench could not be made: {answer.said}{answer.escaped}")
        return self.root / "dataset"

    def _model(self, name: str, target: str) -> Path:
        import torch

        from w2v2_ray.model.interop.format_names import TargetFormat
        from w2v2_ray.model.interop.formats import export_model
        from w2v2_ray.model.interop.loaded_model import LoadedModel, check_model, expected_shapes
        from w2v2_ray.spec.model import ModelSpec

        path = self.root / name
        if not path.exists():
            spec = ModelSpec.model_validate(MODEL)
            generator = torch.Generator().manual_seed(5)
            shapes = expected_shapes(spec, "ctc", len(VOCABULARY))
            state = {key: 0.3 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}
            model = check_model(LoadedModel(spec, "ctc", state, VOCABULARY, source="random model"))
            export_model(model, TargetFormat(target), path)
        return path
