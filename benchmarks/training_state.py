"""Seconds to snapshot, write and load a training state, beside DeepSpeed's universal checkpoint. Prints Markdown.

Run `python benchmarks/training_state.py [--preset tiny] [--workers 1 2] [--universal]`. Times depend on the machine and
its disk; rows of one run can be compared. Needs about 16 bytes of memory a parameter and twice that a worker at once.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from w2v2_ray.engine.distributed import barrier, gather_objects, init_process_group
from w2v2_ray.engine.state_index import describe_training_state
from w2v2_ray.engine.training_engine import TrainingEngine
from w2v2_ray.engine.training_state import load_training_state, read_full_weights, snapshot_training_state
from w2v2_ray.model.factory import build_pretrain_model
from w2v2_ray.spec.engine import EngineSpec
from w2v2_ray.spec.model import EncoderSpec, ModelSpec
from w2v2_ray.spec.optim import OptimSpec

_DEVICE = torch.device("cpu")


def _model(preset: str) -> torch.nn.Module:
    encoder = EncoderSpec() if preset == "base" else EncoderSpec(dim=96, ffn_dim=192, heads=4)
    return build_pretrain_model(ModelSpec(encoder=encoder))


def _engine(preset: str) -> TrainingEngine:
    torch.manual_seed(1)
    return TrainingEngine(
        _model(preset), optim=OptimSpec(), engine=EngineSpec(precision="bf16", zero_stage=1), device=_DEVICE
    )


def _step(engine: TrainingEngine) -> None:
    """Give Adam its moments, without the cost of a forward pass."""

    def forward(scale: float) -> Tensor:
        return torch.stack([scale * weight.float().pow(2).sum() for weight in engine.model.parameters()]).sum()

    engine.update([1e-3], count=1, total=engine.world_size, forward=forward, normaliser=1.0, lr=1e-4)


def _timed(action: Callable[[], Any]) -> float:
    """Seconds until the slowest rank is through."""
    barrier()
    started = time.perf_counter()
    action()
    barrier()
    return time.perf_counter() - started


def _folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _measure_ours(preset: str, folder: Path) -> dict[str, float]:
    engine = _engine(preset)
    _step(engine)
    snapshot = snapshot_training_state(engine)  # Warm-up; its pages are returned.
    snapshot_s = _timed(lambda: snapshot_training_state(engine))
    write_s = _timed(lambda: snapshot.write(folder))
    load_s = _timed(lambda: load_training_state(engine, folder))
    assert describe_training_state(folder).step == 1
    if dist.get_rank() == 0:
        assert read_full_weights(folder).keys() == engine.parameters_by_name.keys()
    engine.destroy()
    return {"stall": snapshot_s, "write": write_s, "convert": 0.0, "load": load_s, "bytes": _folder_bytes(folder)}


def _measure_universal(preset: str, folder: Path) -> dict[str, float]:
    from deepspeed.checkpoint import ds_to_universal

    engine = _engine(preset)
    _step(engine)
    wrapped = engine.deepspeed_engine
    save_s = _timed(lambda: wrapped.save_checkpoint(str(folder), tag="plain"))

    def convert() -> None:
        if dist.get_rank() == 0:
            ds_to_universal.main(
                Namespace(
                    input_folder=str(folder / "plain"),
                    output_folder=str(folder / "universal"),
                    num_extract_workers=1,
                    num_merge_workers=1,
                    keep_temp_folder=False,
                    strict=True,
                    inject_missing_state=True,
                )
            )

    convert_s = _timed(convert)
    wrapped._config.load_universal_checkpoint = True
    load_s = _timed(lambda: wrapped.load_checkpoint(str(folder), tag="universal"))
    engine.destroy()
    return {"stall": save_s, "write": 0.0, "convert": convert_s, "load": load_s, "bytes": _folder_bytes(folder)}


def _worker(rank: int, workers: int, preset: str, universal: bool, folder: str, results: Any) -> None:
    if workers > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=workers)
    init_process_group(_DEVICE)
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    rows = [("rank-free state", _measure_ours(preset, Path(folder) / "ours"))]
    if universal:
        rows.append(("DeepSpeed universal checkpoint", _measure_universal(preset, Path(folder) / "universal")))
    assert len(gather_objects(rank)) == workers
    if rank == 0:
        results.put(rows)


def _table(rows: list[tuple[int, str, dict[str, float]]]) -> str:
    lines = [
        "| workers | method | training stands still | background write | offline conversion | load | on disk |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {workers} | {method} | {row['stall']:.2f} s | {row['write']:.2f} s | {row['convert']:.2f} s "
        f"| {row['load']:.2f} s | {row['bytes'] / 1e6:.0f} MB |"
        for workers, method, row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", choices=["base", "tiny"], default="base")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--universal", action="store_true", help="also time DeepSpeed's universal checkpoint")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder without")
    arguments = parser.parse_args()
    rows = []
    for workers in arguments.workers:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            context = multiprocessing.get_context("spawn")
            results = context.SimpleQueue()
            processes = [
                context.Process(
                    target=_worker,
                    args=(rank, workers, arguments.preset, arguments.universal, folder, results),
                )
                for rank in range(workers)
            ]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
            if any(process.exitcode for process in processes):
                raise SystemExit("a worker failed; see its traceback above")
            rows += [(workers, method, row) for method, row in results.get()]
    parameters = sum(weight.numel() for weight in _model(arguments.preset).parameters())
    print(f"Training state of {parameters / 1e6:.1f} M parameters, bf16, ZeRO 1, CPU.\n\n{_table(rows)}")


if __name__ == "__main__":
    main()
