"""What fine-tuning does with a micro-batch: draw masks, forward, CTC, count errors.

Utterances are whole and padded; with their lengths the network computes what it would without padding, so that the
company an utterance is in changes nothing. All draws are keyed by the micro-batch's position in the stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jiwer
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from w2v2_ray.data.augmentation import augment
from w2v2_ray.data.batch_plan import BatchPlan
from w2v2_ray.data.dataset import Utterances
from w2v2_ray.data.loader import PaddedLoader, PaddedMicroBatch, padded_rows
from w2v2_ray.data.random_streams import Purpose, RandomStreams
from w2v2_ray.data.text import Tokenizer
from w2v2_ray.model.ctc import CtcOutput, collapse, consistency_loss, ctc_loss
from w2v2_ray.model.waveforms import INT16_SCALE, normalise_valid
from w2v2_ray.spec.augmentation import AugmentationSpec
from w2v2_ray.spec.finetune import FinetuneJob
from w2v2_ray.spec.model import ModelSpec
from w2v2_ray.training.objectives.drawing import filled, layer_keep, pinned, used_utterances
from w2v2_ray.training.objectives.finetuning.selection import Selection
from w2v2_ray.training.objectives.mask_drawing import draw_channel_mask, draw_time_mask
from w2v2_ray.training.objectives.task import Stateless

SUMS: tuple[str, ...] = (
    "loss_sum",
    "utterances",
    "symbols",
    "frames",
    "samples",
    "word_errors",
    "words",
    "character_errors",
    "characters",
)
"""What is counted for every micro-batch, in this order; errors on held-out audio alone."""


def build_plan(
    job: FinetuneJob, data: Utterances, selection: Selection, streams: RandomStreams, *, validation: bool = False
) -> BatchPlan:
    """The job's batch plan over a dataset. Validation runs its sub-batches one by one."""
    return BatchPlan(
        data.num_samples,
        max_tokens=job.batch.max_tokens,
        size_multiple=job.batch.size_multiple,
        max_utterances=job.batch.max_utterances,
        concat=1 if validation else job.batch.concat,
        min_samples=1,
        max_samples=job.longest_samples,
        streams=streams,
        curriculum_epochs=0 if validation else job.batch.curriculum_epochs,
        usable=selection.usable,
    )


@dataclass(frozen=True)
class FinetuneMicroBatch:
    """A micro-batch ready for the device.

    Attributes:
        index: Position in the stream.
        waveform: int16 PCM, zeros after the end. Shape: [B, S].
        lengths: Samples of each utterance. Shape: [B].
        targets: Outputs to be spelt, one utterance after the other.
        target_lengths: Of each utterance. Shape: [B].
        time_mask: True = masked; never on padding. Shape: [V * B, T], views one after the other.
        channel_mask: True = zeroed. Shape: [V * B, D].
        layer_keep: Which Transformer layers run; None runs all.
        sub_batch_sizes: Utterances of each sub-batch.
        utterances: Dataset indices. Shape: [B].
    """

    index: int
    waveform: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    time_mask: Tensor | None
    channel_mask: Tensor | None
    layer_keep: tuple[bool, ...] | None
    sub_batch_sizes: tuple[int, ...]
    utterances: npt.NDArray[np.int32]


class FinetuneTask(Stateless):
    """CTC on one dataset, as the trainer sees it.

    Args:
        job: The spec, its network settled.
        data: What to read.
        selection: Its usable utterances.
        tokenizer: From and to symbols.
        plan: Its micro-batches.
        streams: Random streams of this domain.
        device: Where to compute.
        augmentation: What is done to the audio; None for held-out data.
    """

    def __init__(
        self,
        job: FinetuneJob,
        data: Utterances,
        selection: Selection,
        tokenizer: Tokenizer,
        plan: BatchPlan,
        streams: RandomStreams,
        device: torch.device,
        augmentation: AugmentationSpec | None = None,
    ) -> None:
        assert job.model is not None
        self.sums = SUMS
        self.plan = plan
        self._job = job
        self._model: ModelSpec = job.model
        self._data = data
        self._selection = selection
        self._tokenizer = tokenizer
        self._streams = streams
        self._device = device
        self._loader = PaddedLoader(data, plan)
        self._augmentation = None if augmentation == AugmentationSpec() else augmentation
        self._views = job.regularisation.views

    def weight(self, index: int) -> int:
        """Utterances of a micro-batch."""
        return sum(self.plan.micro_batch(index).sub_batch_sizes)

    def micro_batch(self, index: int) -> FinetuneMicroBatch:
        """Read and draw everything micro-batch `index` needs. Runs on loader threads."""
        padded = self._heard(index, self._loader.load(index))
        sizes = padded.plan.sub_batch_sizes
        utterances = np.concatenate(padded.plan.utterances)
        targets = [self._selection.target(int(utterance)) for utterance in utterances]
        return FinetuneMicroBatch(
            index=index,
            waveform=self._host(torch.from_numpy(padded.waveform)),
            lengths=self._host(torch.from_numpy(padded.lengths)),
            targets=self._host(torch.from_numpy(np.concatenate(targets).astype(np.int64))),
            target_lengths=self._host(torch.tensor([len(target) for target in targets])),
            time_mask=self._time_mask(index, padded.lengths, sizes),
            channel_mask=self._channel_mask(index, sizes),
            layer_keep=layer_keep(self._streams, self._model.encoder, index),
            sub_batch_sizes=sizes,
            utterances=utterances,
        )

    def forward(self, module: nn.Module, batch: FinetuneMicroBatch, update: int) -> tuple[Tensor, Tensor]:
        """CTC loss in nats, summed over utterances, and the `SUMS`; see `Task.forward`.

        In training mode frames, channels and layers are dropped; in eval mode words and characters are judged.
        """
        torch.manual_seed(self._streams.torch_seed(Purpose.STEP, batch.index))
        lengths = self._to_device(batch.lengths)
        training = module.training
        output: CtcOutput = module(
            self._waveform(batch, lengths),
            lengths,
            time_mask=self._to_device(batch.time_mask) if training and batch.time_mask is not None else None,
            channel_mask=self._to_device(batch.channel_mask) if training and batch.channel_mask is not None else None,
            layer_keep=batch.layer_keep if training else None,
            freeze_backbone=training and self._frozen(update),
            views=self._views if training else 1,
        )
        loss, objective = self._loss(output, batch)
        errors = (0, 0, 0, 0) if training else self._judge(output, batch)
        known = [
            len(batch.lengths),
            len(batch.targets),
            len(batch.lengths) * output.log_probs.shape[1],
            int(batch.lengths.sum()),
            *errors,
        ]
        return objective, torch.cat([loss.detach().double().reshape(1), filled(known, loss.device)])

    def figures(self, totals: Mapping[str, float]) -> dict[str, float]:
        """`loss` in nats per symbol, `loss_per_utterance` in nats, and where errors were counted `wer` and `cer`."""
        figures = {
            "loss": totals["loss_sum"] / totals["symbols"],
            "loss_per_utterance": totals["loss_sum"] / totals["utterances"],
        }
        if totals["words"]:
            figures["wer"] = totals["word_errors"] / totals["words"]
            figures["cer"] = totals["character_errors"] / totals["characters"]
        return figures

    def settings(self, update: int) -> dict[str, float]:
        """Whether the backbone is frozen, in a run that freezes it."""
        if not self._job.freeze_updates:
            return {}
        return {"backbone_frozen": float(self._frozen(update))}

    def _frozen(self, update: int) -> bool:
        """The reference thaws an update sooner."""
        job = self._job
        return update < job.freeze_updates if job.like_reference else update <= job.freeze_updates

    def used(self, index: int) -> list[tuple[int, str]]:
        """(epoch, utterance id) of everything in a micro-batch."""
        return used_utterances(self._data, self.plan.micro_batch(index))

    def _loss(self, output: CtcOutput, batch: FinetuneMicroBatch) -> tuple[Tensor, Tensor]:
        """CTC loss, the mean over views where there are several, and what is minimised."""
        targets, target_lengths = self._to_device(batch.targets), self._to_device(batch.target_lengths)
        views = len(output.log_probs) // len(batch.lengths)
        if views == 1:
            loss = ctc_loss(output, targets, target_lengths)
            return loss, loss
        loss = ctc_loss(output, targets.repeat(views), target_lengths.repeat(views)) / views
        return loss, loss + self._job.regularisation.consistency * consistency_loss(output)

    def _heard(self, index: int, padded: PaddedMicroBatch) -> PaddedMicroBatch:
        """The micro-batch as it is heard: changed as the spec says."""
        if self._augmentation is None:
            return padded
        rows = [row[:length] for row, length in zip(padded.waveform, padded.lengths, strict=True)]
        rng = self._streams.generator(Purpose.AUGMENT, index)
        return padded_rows(padded.plan, augment(rows, padded.plan.sub_batch_sizes, self._augmentation, rng))

    def _waveform(self, batch: FinetuneMicroBatch, lengths: Tensor) -> Tensor:
        waveform = self._to_device(batch.waveform).float().mul_(INT16_SCALE)
        if not self._model.normalize_waveform:
            return waveform
        return normalise_valid(waveform, lengths, self._model.normalize_eps)

    def _judge(self, output: CtcOutput, batch: FinetuneMicroBatch) -> tuple[int, int, int, int]:
        """Errors and length in words, then in characters, of the best paths."""
        references = [
            self._tokenizer.decode(self._selection.target(int(utterance)).tolist()) for utterance in batch.utterances
        ]
        hypotheses = [self._tokenizer.decode(symbols) for symbols in best_paths(output)]
        words = jiwer.process_words(references, hypotheses)
        characters = jiwer.process_characters(references, hypotheses)
        return (
            words.substitutions + words.deletions + words.insertions,
            words.substitutions + words.deletions + words.hits,
            characters.substitutions + characters.deletions + characters.insertions,
            characters.substitutions + characters.deletions + characters.hits,
        )

    def _time_mask(self, index: int, lengths: npt.NDArray[np.int64], sizes: Sequence[int]) -> Tensor | None:
        masking, encoder = self._model.masking, self._model.feature_encoder
        if not masking.probability:
            return None
        frames = [encoder.num_frames(int(length)) for length in lengths]
        ends = np.cumsum(sizes)
        masks = [
            draw_time_mask(rng, masking, size, max(frames), frames[end - size : end])
            for rng in self._view_generators(Purpose.MASK, index)
            for size, end in zip(sizes, ends, strict=True)
        ]
        return self._host(torch.from_numpy(np.concatenate(masks)))

    def _channel_mask(self, index: int, sizes: Sequence[int]) -> Tensor | None:
        masking = self._model.masking
        if not masking.channel_probability:
            return None
        dim = self._model.encoder.dim
        masks = [
            draw_channel_mask(rng, masking, size, dim)
            for rng in self._view_generators(Purpose.CHANNEL_MASK, index)
            for size in sizes
        ]
        return self._host(torch.from_numpy(np.concatenate(masks)))

    def _view_generators(self, purpose: Purpose, index: int) -> list[np.random.Generator]:
        """One stream a view; the first is that of a task with one view."""
        views = range(self._views)
        return [self._streams.generator(purpose, index, *([view] if view else [])) for view in views]

    def _host(self, tensor: Tensor) -> Tensor:
        return pinned(tensor, self._device)

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device, non_blocking=True)


def best_paths(output: CtcOutput) -> list[list[int]]:
    """Symbols of the most probable path of each row, repeats merged and blanks dropped."""
    best = output.log_probs.argmax(-1).cpu().numpy()
    lengths = output.frame_lengths.tolist()
    return [
        [symbol for symbol, _, _ in collapse(row[:length].tolist())] for row, length in zip(best, lengths, strict=True)
    ]
