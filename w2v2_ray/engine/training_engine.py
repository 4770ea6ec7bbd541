"""One optimizer update over micro-batches spread unevenly over workers, on top of DeepSpeed."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from w2v2_ray.engine.deepspeed_config import deepspeed_config
from w2v2_ray.engine.exact_sum import ExactSum
from w2v2_ray.engine.fragments import resident_fragments
from w2v2_ray.engine.late_compiler import EagerAdamW, import_deepspeed_optimizers
from w2v2_ray.errors import RunFailedError, SpecError
from w2v2_ray.spec.engine import EngineSpec
from w2v2_ray.spec.optim import OptimSpec

M = TypeVar("M")


@dataclass(frozen=True)
class UpdateResult:
    """What an update did, the same on every rank.

    Attributes:
        grad_norm: Global L2 norm of the gradient, unscaled and before clipping; infinite when overflow is true.
        overflow: The gradient was not finite, so the update was skipped: weights, moments and Adam's step counter are
            as before. Expected now and then in fp16, where it also lowers the loss scale; elsewhere a sign of trouble.
        loss_scale: The scale this update's losses were multiplied by; 1 but for fp16.
    """

    grad_norm: float
    overflow: bool
    loss_scale: float


def layer_drop_mode(engine: EngineSpec) -> Literal["skip", "run_and_discard"]:
    """How the model may drop layers: at ZeRO 2 and 3 all ranks must run the same layers in the same order."""
    return "skip" if engine.zero_stage < 2 else "run_and_discard"


class TrainingEngine:
    """A model and its optimizer under DeepSpeed, whose updates do not depend on the number of workers.

    The gradient of an update is a sum over all ranks' micro-batches, never an average over ranks: exact at ZeRO 0 and
    1, accumulated and reduced in fp32 at 2 and 3. Weights start out as rank 0's; fp32 masters keep the precision they
    were given in.

    Parameters with `requires_grad=False` when the engine is built are frozen: stored, never stepped.

    Every method but the properties is a collective unless it says otherwise.

    Args:
        model: The network, on the CPU in fp32. It is taken over: cast, moved and (at ZeRO 3) partitioned in place.
        optim: Betas, eps, decay and clipping. The learning rate is given to each update.
        engine: Precision and ZeRO stage.
        device: From `pick_device`; `init_process_group` must have been called for it.

    Attributes:
        module: What to call forward on (DeepSpeed's wrapper; attributes of the model are reached through it).
        model: The network itself; do not call it directly.
    """

    def __init__(self, model: nn.Module, *, optim: OptimSpec, engine: EngineSpec, device: torch.device) -> None:
        if not dist.is_initialized():
            raise RuntimeError("call init_process_group before building a TrainingEngine")
        if engine.precision == "fp16" and device.type != "cuda":
            raise SpecError("engine.precision: fp16 needs a GPU; use precision: bf16 or fp32 on the CPU")
        self.optim_spec = optim
        self.engine_spec = engine
        self.device = device
        self.zero_stage: int = engine.zero_stage
        self.world_rank = dist.get_rank()
        self.world_size = dist.get_world_size()
        self.model = model
        for parameter in model.parameters():
            # Fragments of a parameter are views of its flattened storage.
            parameter.data = parameter.data.contiguous()
        self.parameters_by_name = dict(model.named_parameters())
        self.parameter_shapes = {name: tuple(p.shape) for name, p in self.parameters_by_name.items()}
        self._trained = [p for p in self.parameters_by_name.values() if p.requires_grad]
        if not self._trained:
            raise ValueError("the model has no parameter that requires a gradient")
        first = self._weights_of_rank_0()
        self.frozen_weights = {n: first[n] for n, p in self.parameters_by_name.items() if not p.requires_grad}
        self.deepspeed_engine = self._wrap()
        self.module: nn.Module = self.deepspeed_engine
        # DeepSpeed takes another optimizer class for bf16 at ZeRO 1, with fp32 gradients of its own.
        self._has_bf16_optimizer = hasattr(self.optimizer, "fp32_groups_flat_partition")
        moved = engine.zero_stage == 1 and getattr(self.optimizer, "use_grad_accum_attribute", False)
        self._gradient_name = "grad_accum" if moved else "grad"
        self._sum = ExactSum(self._trained) if engine.zero_stage < 2 else None
        if engine.precision != "fp32":
            self._restore_precision(first)

    def _weights_of_rank_0(self) -> dict[str, Tensor]:
        """Give every rank rank 0's weights and return them in fp32, before DeepSpeed rounds them."""
        weights = {}
        for name, parameter in self.parameters_by_name.items():
            if self.world_size > 1:
                at = parameter.data.to(self.device)
                dist.broadcast(at, src=0)
                parameter.data.copy_(at)
            # DeepSpeed replaces `data` when it casts or moves, so frozen weights must be copied, others not.
            weights[name] = parameter.data if parameter.requires_grad else parameter.data.clone().cpu()
        return weights

    def _wrap(self) -> Any:
        import deepspeed

        spec = self.optim_spec
        import_deepspeed_optimizers()
        adam = EagerAdamW(
            self._trained,
            lr=spec.lr,
            betas=spec.betas,
            eps=spec.eps,
            weight_decay=spec.weight_decay,
            fused=self.device.type == "cuda",
        )
        config = deepspeed_config(spec, self.engine_spec)
        with contextlib.redirect_stdout(io.StringIO()):  # BF16_Optimizer prints memory figures whatever the log level.
            wrapped, *_ = deepspeed.initialize(
                model=self.model, optimizer=adam, config=config, dist_init_required=False
            )
        # Sum over ranks. Stage 3 averages all the same; `_backward_in_step` mends that.
        wrapped.gradient_average = False
        if hasattr(wrapped.optimizer, "gradient_average"):
            wrapped.optimizer.gradient_average = False
        if self.engine_spec.precision == "fp16":
            scaler = wrapped.optimizer.loss_scaler
            scaler.cur_scale = self.engine_spec.loss_scale.initial
            scaler.min_scale = self.engine_spec.loss_scale.minimum
        return wrapped

    def _restore_precision(self, weights: dict[str, Tensor]) -> None:
        """Start the fp32 masters from the fp32 weights; DeepSpeed starts them from the rounded ones."""
        for fragment in resident_fragments(self):
            source = weights[fragment.name].reshape(-1)[fragment.start : fragment.stop]
            fragment.weight.copy_(source)

    @property
    def optimizer(self) -> Any:
        """DeepSpeed's optimizer wrapper; the AdamW itself at ZeRO 0."""
        return self.deepspeed_engine.optimizer

    @property
    def adam(self) -> torch.optim.AdamW:
        """The AdamW that steps the masters."""
        optimizer = self.optimizer
        adam: torch.optim.AdamW = optimizer if self.zero_stage == 0 else optimizer.optimizer
        return adam

    @property
    def layer_drop_mode(self) -> Literal["skip", "run_and_discard"]:
        """What the model must have been built with; see `layer_drop_mode`."""
        return layer_drop_mode(self.engine_spec)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights that forward uses."""
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.engine_spec.precision]

    @property
    def loss_scale(self) -> float:
        """The current loss scale; 1 but for fp16."""
        return float(self.optimizer.loss_scaler.cur_scale) if self.engine_spec.precision == "fp16" else 1.0

    def train(self) -> None:
        """Set training mode. Not a collective."""
        self.deepspeed_engine.train()
        self.deepspeed_engine.training = True  # DeepSpeed sets the mode of what it wraps, not its own.

    def eval(self) -> None:
        """Set evaluation mode. Not a collective; at ZeRO 3 forward is one, in this mode too."""
        self.deepspeed_engine.eval()
        self.deepspeed_engine.training = False

    def update(
        self,
        micro_batches: Iterable[M],
        *,
        count: int,
        total: int,
        forward: Callable[[M], Tensor],
        normaliser: float,
        lr: float,
    ) -> UpdateResult:
        """Take one optimizer step; every rank calls it, once per update.

        The gradient is the sum over all ranks' micro-batches of d forward(micro_batch) / normaliser. At ZeRO 0 and 1
        it is exact (`exact_sum.py`): the same bits whoever computed which micro-batch. ZeRO 2 and 3 add in fp32 while
        the backward pass runs, in an order that depends on the number of ranks.

        Args:
            micro_batches: This rank's share, `count` of them; more are not touched, except that at ZeRO 2 and 3 a
                rank of count 0 needs one micro-batch (any) to keep step with.
            count: Micro-batches of this rank: its even share of `total`.
            total: Micro-batches of the update over all ranks. ZeRO 2 and 3 communicate within each backward pass, so
                ranks with fewer than others run their last micro-batch again with weight zero: `forward` may be
                called once more than `count`, and must not count a micro-batch twice.
            forward: Loss of a micro-batch, summed, not averaged. It must seed its own randomness.
            normaliser: What the sum is divided by; the same on every rank.
            lr: Learning rate of this update.

        Raises:
            ValueError: If the numbers make no sense, or micro_batches holds fewer than count.
            RunFailedError: If fp16 overflows at the smallest loss scale.
        """
        most = -(-total // self.world_size)
        if not 0 <= count <= most or total < 1 or not normaliser > 0:
            raise ValueError(f"update: count {count}, total {total}, normaliser {normaliser} make no sense")
        if self._sum is None:
            loss_scale = self.loss_scale
            self._set_lr(lr)
            self._backward_in_step(micro_batches, count, most, forward, normaliser)
            self._step()
            overflow = bool(self.optimizer.overflow)
            norm = float(self.deepspeed_engine.get_global_grad_norm())
            return UpdateResult(math.inf if overflow else norm, overflow, loss_scale)
        for micro_batch in self._take(micro_batches, count):
            self.add(micro_batch, forward, normaliser)
        return self.finish(total, lr)

    @property
    def exact_sum(self) -> ExactSum:
        """Gradients added up since the last step. At ZeRO 0 and 1 alone."""
        assert self._sum is not None, "ZeRO 2 and 3 add up within the backward pass"
        return self._sum

    def add(self, micro_batch: M, forward: Callable[[M], Tensor], normaliser: float) -> None:
        """Add one micro-batch's gradient to the exact sum. Not a collective.

        Args:
            micro_batch: What to compute.
            forward: As for `update`.
            normaliser: As for `update`.
        """
        self.deepspeed_engine.set_gradient_accumulation_boundary(False)
        loss = forward(micro_batch)
        self._forget_gradients()
        self.deepspeed_engine.backward(loss / normaliser)
        self.exact_sum.add([getattr(p, self._gradient_name) for p in self._trained], 1.0 / self.loss_scale)

    def finish(self, total: int, lr: float) -> UpdateResult:
        """Step with what all workers have added up; see `update`. Collective."""
        return self._finish(lr, lambda targets: self.exact_sum.reduce_into(targets, total))

    def finish_with(self, gradient: Tensor, *, outside: bool, lr: float) -> UpdateResult:
        """Step with a sum that was made elsewhere, as if this worker had computed all of it. For a world of one.

        Args:
            gradient: fp32, in units of the exact sum's grid. Shape: [elements].
            outside: Whether a gradient in it was not finite or too large.
            lr: Learning rate of this update.
        """
        return self._finish(lr, lambda targets: self.exact_sum.take_over(gradient, targets, outside=outside))

    def _finish(self, lr: float, fill: Callable[[list[Tensor]], float]) -> UpdateResult:
        loss_scale = self.loss_scale
        self._set_lr(lr)
        norm = self._take_gradient(fill, loss_scale)
        overflow = not math.isfinite(norm)
        if overflow and self.engine_spec.precision != "fp16":
            self.deepspeed_engine.zero_grad()
        else:
            self._step()
        return UpdateResult(norm, overflow, loss_scale)

    def _set_lr(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def _take(self, micro_batches: Iterable[M], count: int) -> Iterable[M]:
        iterator = iter(micro_batches)
        for taken in range(count):
            try:
                yield next(iterator)
            except StopIteration:
                raise ValueError(f"update: {count} micro-batches announced, {taken} given") from None

    def _forget_gradients(self) -> None:
        """Leave no gradient of an earlier micro-batch for the next one to be added to."""
        for parameter in self._trained:
            parameter.grad = None
            if self._gradient_name != "grad":
                setattr(parameter, self._gradient_name, None)

    def _take_gradient(self, fill: Callable[[list[Tensor]], float], loss_scale: float) -> float:
        """Give DeepSpeed the update's gradient, clipped, as if the first rank had computed all of it (ZeRO 0 and 1).

        Args:
            fill: Fills tensors like the parameters with it; returns its norm, infinite when it is not finite.
            loss_scale: What DeepSpeed expects it to be multiplied by.

        Returns:
            The norm before clipping; infinite when the gradient is not finite.
        """
        self._forget_gradients()
        optimizer = self.optimizer
        if self._has_bf16_optimizer:
            views = [view for group in optimizer.fp32_groups_gradients for view in group]
            targets = [view.view_as(p) for view, p in zip(views, self._trained, strict=True)]
            for flags in optimizer.fp32_groups_has_gradients:
                flags[:] = [True] * len(flags)
        else:
            targets = [torch.empty_like(p, dtype=torch.float32) for p in self._trained]
            for parameter, target in zip(self._trained, targets, strict=True):
                setattr(parameter, self._gradient_name, target)
        norm = fill(targets)
        if not math.isfinite(norm):
            if self.engine_spec.precision != "fp16":
                return math.inf
            targets[0].fill_(math.inf)  # DeepSpeed's loss scaler backs off when it finds this itself.
        factor, limit = loss_scale, self.optim_spec.clip_norm
        if limit is not None and math.isfinite(norm):
            # As torch.nn.utils.clip_grad_norm_ does; DeepSpeed's own clipping adds up partitions, whose number varies.
            factor *= min(1.0, limit / (norm + 1e-6))
        if factor != 1.0:
            torch._foreach_mul_(targets, factor)
        if self.zero_stage == 1 and not self._has_bf16_optimizer:
            optimizer.setup_buckets()  # For the rank without a backward pass.
        self.deepspeed_engine.set_gradient_accumulation_boundary(True)
        self.deepspeed_engine.allreduce_gradients()
        return norm

    def _backward_in_step(
        self,
        micro_batches: Iterable[M],
        count: int,
        max_count: int,
        forward: Callable[[M], Tensor],
        normaliser: float,
    ) -> None:
        """Run max_count backward passes on every rank (ZeRO 2 and 3), those beyond count with weight zero."""
        wrapped = self.deepspeed_engine
        if self.zero_stage == 3:
            # A parameter unused in the first micro-batch would add to the previous update's gradient.
            self.optimizer.grad_partitions_flat_buffer.zero_()
        share = iter(micro_batches)
        micro_batch: M | None = None
        for index in range(max_count):
            if index < max(count, 1):
                try:
                    micro_batch = next(share)
                except StopIteration:
                    raise ValueError(
                        f"update: {index} micro-batches given, {count} announced (ZeRO {self.zero_stage} needs at "
                        "least one on every worker: use no more workers than an update has micro-batches, or ZeRO 1)"
                    ) from None
            assert micro_batch is not None
            wrapped.set_gradient_accumulation_boundary(index == max_count - 1)
            loss = forward(micro_batch)
            wrapped.backward(loss / normaliser if index < count else loss * 0.0)
        if self.zero_stage == 3 and self.world_size > 1:
            # DeepSpeed divides by the number of ranks here whatever it is told. Multiplying the loss instead would
            # change how bf16 rounds, by 1e-4 for three ranks.
            self.optimizer.grad_partitions_flat_buffer.mul_(self.world_size)

    def _step(self) -> None:
        try:
            self.deepspeed_engine.step()
        except Exception as error:
            # DeepSpeed raises a bare Exception here.
            if "loss scale already at minimum" in str(error):
                raise RunFailedError(
                    f"fp16 overflows even at the smallest loss scale ({self.engine_spec.loss_scale.minimum:g}); "
                    "training has diverged. Resume from an earlier checkpoint with a lower optim.lr or precision: bf16"
                ) from error
            raise

    def destroy(self) -> None:
        """Release DeepSpeed's hooks and buffers. The engine cannot be used afterwards. Not a collective."""
        self.deepspeed_engine.destroy()
