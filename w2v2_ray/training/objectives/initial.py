"""What a run begins from, kept in its folder.

So it does not change when the model it came from does, and every worker of every attempt begins from the same weights
without reading another tool's files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from w2v2_ray.errors import CheckpointError
from w2v2_ray.model.interop.loaded_model import LoadedModel
from w2v2_ray.model.interop.model_folder import load_model, save_model
from w2v2_ray.places.durable import write_text
from w2v2_ray.run.folder import RunFolder


def settle(
    run: RunFolder, request: dict[str, Any], pretrained: str | None, make: Callable[[], LoadedModel]
) -> LoadedModel:
    """Make a run's initial model, or read the one that an earlier launch made.

    Args:
        run: Gets `initial/`, `vocabulary.json` where there is one, and `start.json`.
        request: What the job asks to begin from, to be compared with what an earlier launch was asked.
        pretrained: The job's own word for it; the run's copy itself is no contradiction.
        make: Makes it.

    Raises:
        CheckpointError: When the run began from something else.
    """
    if run.start.is_file():
        before = json.loads(run.start.read_text())
        changed = [name for name, value in request.items() if before.get(name) != value]
        if changed and pretrained != run.place_of(run.initial):
            raise CheckpointError(
                f"{run.place}: this run began with another {' and '.join(changed)} (see {run.start.name}); "
                "give the job another name, or delete the run's folder to start over"
            )
        return load_model(run.initial)
    model = make()
    save_model(
        run.initial,
        model.spec,
        model.kind,
        model.state,
        model.vocabulary,
        loss=model.loss,
        final_dropout=model.final_dropout,
    )
    if model.vocabulary is not None:
        write_text(run.vocabulary, json.dumps(list(model.vocabulary), ensure_ascii=False) + "\n")
    write_text(run.start, json.dumps(request, indent=1) + "\n")
    return model
