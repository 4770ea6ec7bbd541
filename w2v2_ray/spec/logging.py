"""What a run writes down about itself, and where else it tells it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from w2v2_ray.spec.base import PositiveInt, Spec


class MlflowSpec(Spec):
    """Metrics to MLflow; needs the extra `mlflow`. Credentials come from MLflow's environment variables."""

    experiment: str = Field(default="w2v2-ray", min_length=1)
    """Name of the experiment; it is made when there is none."""
    tracking_uri: str | None = None
    """Server or folder; null takes MLFLOW_TRACKING_URI."""


class WandbSpec(Spec):
    """Metrics to Weights & Biases; needs the extra `wandb`. The key comes from WANDB_API_KEY or `wandb login`."""

    project: str = Field(default="w2v2-ray", min_length=1)
    """Project."""
    entity: str | None = None
    """User or team; null takes the key's default."""
    mode: Literal["online", "offline"] = "online"
    """`offline` writes files in the run's folder that `wandb sync` sends later."""


class LoggingSpec(Spec):
    """What a run writes down about itself."""

    every_updates: PositiveInt = 1
    """Updates between two lines of `metrics.jsonl`."""
    tensorboard: bool = True
    """Write TensorBoard event files."""
    trace_samples: bool = False
    """Write the ids of every update's utterances to `samples.jsonl`."""
    prometheus: bool = True
    """Export figures at Ray's Prometheus endpoint."""
    mlflow: MlflowSpec | None = None
    """Log to MLflow too; `{}` takes the defaults."""
    wandb: WandbSpec | None = None
    """Log to Weights & Biases too; `{}` takes the defaults."""
