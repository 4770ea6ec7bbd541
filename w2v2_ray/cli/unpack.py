"""`w2v2-ray unpack`: a dataset back to audio files, with lists that other tools read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class FormChoice(StrEnum):
    """Forms of a list, as `data.unpacking.ListForm`."""

    NEMO = "nemo"
    HUGGINGFACE = "huggingface"
    LHOTSE = "lhotse"
    KALDI = "kaldi"


def unpack(
    dataset: Annotated[str, typer.Argument(help="Dataset made by `prepare`: a folder or a URI.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    form: Annotated[
        list[FormChoice] | None, typer.Option(help="List to write; may be given again. All when not given.")
    ] = None,
) -> None:
    """Write a dataset's audio as FLAC files, with lists for NeMo, Hugging Face, lhotse and Kaldi beside them."""
    from w2v2_ray.api.datasets import open_dataset, unpack
    from w2v2_ray.cli.progress import progress_bar
    from w2v2_ray.data.unpacking import FORMS, ListForm

    opened = open_dataset(dataset)
    done = 0
    with progress_bar("unpacking", "utterances") as progress:

        def more(count: int) -> None:
            nonlocal done
            done += count
            progress(done, len(opened))

        forms: tuple[ListForm, ...] = tuple(choice.value for choice in form) if form else FORMS
        count = unpack(opened, out, forms, more)
    print(f"{out}: {count:,} utterances of {opened.hours:.3f} h, with lists for {', '.join(forms)}")
