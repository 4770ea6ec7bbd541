"""Linear probing: which word is it, told from frozen features of each layer? A random network beside trained ones.

    python benchmarks/probing.py --recogniser RUN --train DATASET --held-out DATASET pretrained=RUN finetuned=RUN

The recogniser says where each word is: utterances that it hears without a mistake are used, their words cut out by
its times. Each word's frames are averaged, layer by layer; a linear classifier (multinomial logistic regression on
standardised features) learns the commonest words from the training speakers and is judged by the held-out ones. A
row `random` is the first model's network with random weights.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.data.dataset import Utterances
from w2v2_ray.data.mixture import open_mixture
from w2v2_ray.extraction.extractor import Extractor
from w2v2_ray.model.factory import build_backbone
from w2v2_ray.model.interop.loaded_model import LoadedModel
from w2v2_ray.recognition.greedy import GreedyDecoder
from w2v2_ray.recognition.recogniser import Recogniser, load_recogniser
from w2v2_ray.training.model_source import load_any

_WORDS = 36
"""Words told apart: letters and digits, mostly."""
_MARGIN_FRAMES = 2
"""CTC's characters are shorter than what was said: frames added at either end."""
_SMALLEST = 12
"""Occurrences in training below which a word is left out."""


@dataclass(frozen=True)
class Spoken:
    """A word in its place.

    Attributes:
        utterance: Index in its dataset.
        word: What was said.
        start_s: Its beginning.
        end_s: Its end.
    """

    utterance: int
    word: str
    start_s: float
    end_s: float


def spoken_words(recogniser: Recogniser, data: Utterances) -> list[Spoken]:
    """Words of the utterances that are heard without a mistake."""
    decoder = GreedyDecoder(recogniser.vocabulary)
    found: list[Spoken] = []
    for index, samples in enumerate(_audio(data)):
        transcript = data.transcript(index)
        wanted = recogniser.tokenizer.normalise(transcript) if transcript else None
        words = decoder.decode(recogniser.log_probs([samples])[0]).words
        if wanted is None or [word.text for word in words] != wanted.split():
            continue
        frame_s = recogniser.frame_s
        for word in words:
            start, end = word.start_frame - _MARGIN_FRAMES, word.end_frame + _MARGIN_FRAMES
            found.append(Spoken(index, word.text, max(start, 0) * frame_s, end * frame_s))
    return found


def _audio(data: Utterances) -> Iterator[NDArray[np.int16]]:
    for index, length in enumerate(data.num_samples):
        yield data.crops(*(np.asarray([value]) for value in (index, 0, int(length))))[0]


def vectors(
    model: LoadedModel | None, like: LoadedModel, data: Utterances, words: Sequence[Spoken]
) -> dict[str, Tensor]:
    """Mean features of each word by layer.

    Args:
        model: None takes random weights.
        like: The network.
        data: Audio.
        words: In the order of the utterances.

    Shape: returns {layer: [words, channels]}.
    """
    if model is None:
        torch.manual_seed(0)
        weights = {f"backbone.{name}": tensor for name, tensor in build_backbone(like.spec).state_dict().items()}
        model = replace(like, kind="backbone", state=weights, vocabulary=None)
    extractor = Extractor(model, torch.device("cpu"))
    rows: dict[str, list[NDArray[np.float32]]] = {}
    by_utterance: dict[int, list[Spoken]] = {}
    for word in words:
        by_utterance.setdefault(word.utterance, []).append(word)
    for index, samples in enumerate(_audio(data)):
        if index not in by_utterance:
            continue
        outputs = extractor.features([samples], layers=None, shortened=True)[0]
        seconds = len(samples) / SAMPLE_RATE
        for word in by_utterance[index]:
            for layer, frames in outputs.items():
                name = f"layer {layer}" if isinstance(layer, int) else "feature encoder"
                rate = len(frames) / seconds
                start = min(int(word.start_s * rate), len(frames) - 1)
                rows.setdefault(name, []).append(frames[start : max(int(word.end_s * rate), start + 1)].mean(0))
    return {name: torch.from_numpy(np.stack(parts)) for name, parts in rows.items()}


def accuracy(train: Tensor, labels: Tensor, held_out: Tensor, truth: Tensor) -> float:
    """Share of held-out words that a linear classifier gets right.

    Shape: train [N, C], labels [N], held_out [M, C], truth [M].
    """
    mean, scale = train.mean(0), train.std(0) + 1e-6
    train, held_out = (train - mean) / scale, (held_out - mean) / scale
    linear = nn.Linear(train.shape[1], int(labels.max()) + 1)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(linear(train), labels) + 1e-3 * linear.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.inference_mode():
        return float((linear(held_out).argmax(1) == truth).double().mean())


def main() -> None:
    """Probe and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL")
    parser.add_argument("--recogniser", required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--held-out", required=True)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    recogniser = load_recogniser(args.recogniser, device="cpu", best=True)
    data = [open_mixture([(path, 1)]) for path in (args.train, args.held_out)]
    words = [spoken_words(recogniser, part) for part in data]
    counts = Counter(word.word for word in words[0])
    classes = [word for word, count in counts.most_common(_WORDS) if count >= _SMALLEST]
    chosen = [[word for word in part if word.word in classes] for part in words]
    labels = [torch.tensor([classes.index(word.word) for word in part]) for part in chosen]
    print(f"{len(classes)} words, {len(labels[0])} in training, {len(labels[1])} held out")
    sources = {name: load_any(source) for name, source in (model.split("=", 1) for model in args.models)}
    like = next(iter(sources.values()))
    table: dict[str, dict[str, float]] = {}
    for name, model in {"random": None, **sources}.items():
        train, held_out = (vectors(model, like, part, some) for part, some in zip(data, chosen, strict=True))
        table[name] = {layer: accuracy(train[layer], labels[0], held_out[layer], labels[1]) for layer in train}
    print("| layer |", " | ".join(table), "|\n|", "--- | " * (len(table) + 1))
    for layer in next(iter(table.values())):
        print(f"| {layer} |", " | ".join(f"{figures[layer]:.1%}" for figures in table.values()), "|")
    if args.json is not None:
        args.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
