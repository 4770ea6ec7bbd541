"""`w2v2-ray inspect CHECKPOINT`: what is in a checkpoint, and is it whole?"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def is_checkpoint(path: str) -> bool:
    """Whether a path is a checkpoint or snapshot of a run, whole or not."""
    if "://" in path:
        from w2v2_ray.places.storage import locate

        return (locate(path) / "checkpoint.json").exists()
    folder = Path(path).expanduser()
    return (folder / "checkpoint.json").exists() or (folder / "state.json").exists()


def checkpoint_report(path: str, *, fast: bool) -> dict[str, Any]:
    """What a checkpoint holds, as plain values.

    Args:
        path: Its folder.
        fast: Compare names and sizes only.

    Raises:
        CheckpointError: Naming the first file that is damaged.
    """
    from w2v2_ray.engine.state_index import describe_training_state
    from w2v2_ray.run.checkpoints.files import read_manifest, verify
    from w2v2_ray.run.view import local_copy

    folder = local_copy(path) if "://" in path else Path(path).expanduser()
    manifest = verify(folder, checksums=not fast)
    state = describe_training_state(folder)
    modules: dict[str, int] = {}
    for name, parameter in state.parameters.items():
        top = ".".join(name.split(".")[:2])
        modules[top] = modules.get(top, 0) + parameter.numel
    return {
        "path": path if "://" in path else str(folder),
        "kind": read_manifest(folder).kind,
        "update": manifest.update,
        "epoch": manifest.epoch,
        "written_by_workers": manifest.world_size,
        "adam_steps": state.step,
        "state": list(state.kinds),
        "parameters": state.num_parameters,
        "trained_parameters": sum(p.numel for p in state.parameters.values() if p.trained),
        "state_bytes": state.state_bytes,
        "file_bytes": sum(int(facts["bytes"]) for facts in manifest.files.values()),
        "checksums_verified": not fast,
        "loss_scale": state.loss_scale,
        "validation": manifest.validation,
        "rollbacks_before": manifest.rollbacks,
        "identity": manifest.identity,
        "modules": modules,
        "files": manifest.files,
    }


def print_checkpoint(report: dict[str, Any]) -> None:
    """Show a report on the terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    figures = Table.grid(padding=(0, 2))
    verified = "checksums verified" if report["checksums_verified"] else "names and sizes verified (--fast)"
    validation = report["validation"]
    frozen = report["parameters"] - report["trained_parameters"]
    for name, value in (
        (report["kind"], report["path"]),
        ("update", f"{report['update']:,} (epoch {report['epoch']}, {report['adam_steps']:,} optimizer steps)"),
        ("written by", f"{report['written_by_workers']} workers; any number can load it"),
        ("parameters", f"{report['parameters']:,}" + (f", {frozen:,} of them frozen" if frozen else "")),
        ("state", f"{', '.join(report['state'])} in fp32, {report['state_bytes'] / 2**20:,.1f} MiB"),
        ("files", f"{len(report['files'])}, {report['file_bytes'] / 2**20:,.1f} MiB, {verified}"),
        ("validation", "not at this update" if validation is None else _measured(validation)),
        ("rollbacks", f"{report['rollbacks_before']} before it"),
        ("belongs to", ", ".join(f"{part} {digest[:16]}" for part, digest in report["identity"].items())),
    ):
        figures.add_row(f"[bold]{name}[/]", str(value))
    console.print(figures, highlight=False, soft_wrap=True)
    table = Table(box=None)
    table.add_column("module")
    table.add_column("parameters", justify="right")
    for name, count in report["modules"].items():
        table.add_row(name, f"{count:,}")
    console.print(table, highlight=False)


def _measured(validation: dict[str, float]) -> str:
    if "wer" in validation:
        return f"WER {validation['wer']:.2%}, CER {validation['cer']:.2%}"
    return f"loss {validation['loss']:.4f} bits"
