"""What other tools read of a folder that `w2v2-ray unpack` wrote, and what they write; for `unpack_peers.py`.

    PYTHON benchmarks/unpack_peers_worker.py read FOLDER
    PYTHON benchmarks/unpack_peers_worker.py write FOLDER OUT

Runs under the interpreter that has these tools. Prints one line of JSON: what each reader found, or what each writer's
own program reads of what it wrote, as utterances of `id`, `text`, `speaker`, `duration_s` and `sha256` (of the samples,
16 bits); an error is told as a string.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

RATE_HZ = 16_000
Row = dict[str, Any]


def _row(name: str, text: str | None, speaker: str | None, duration_s: float, samples: Any) -> Row:
    """Of samples as integers, or as floats of [-1, 1)."""
    exact = np.asarray(samples).reshape(-1)
    if exact.dtype.kind == "f":
        exact = np.rint(exact * 32_768.0)
    digest = hashlib.sha256(exact.astype(np.int16).tobytes()).hexdigest()
    # `datasets` makes numbers of a CSV's columns of digits; what is asked is whether the digits are still there.
    who = None if speaker in (None, "") else str(speaker)
    return {"id": str(name), "text": text or None, "speaker": who, "duration_s": duration_s, "sha256": digest}


def _lhotse_rows(cuts: Iterable[Any]) -> list[Row]:
    found = []
    for cut in cuts:
        samples = cut.load_audio()
        assert samples.shape == (1, cut.num_samples), f"{cut.id}: {samples.shape}, promised {cut.num_samples}"
        assert cut.sampling_rate == RATE_HZ
        said = cut.supervisions[0] if cut.supervisions else None
        text, speaker = (said.text, said.speaker) if said else (None, None)
        found.append(_row(cut.id, text, speaker, cut.duration, samples))
    return found


def _unpacked_cuts(folder: Path) -> Any:
    import lhotse

    cuts = lhotse.CutSet.from_file(folder / "cuts.jsonl.gz").to_eager()
    for cut in cuts:
        lhotse.validate(cut, read_data=True)
    return cuts


def _read_kaldi_with_lhotse(folder: Path) -> list[Row]:
    import lhotse

    recordings, supervisions, _ = lhotse.kaldi.load_kaldi_data_dir(folder, RATE_HZ)
    cuts = lhotse.CutSet.from_manifests(recordings=recordings, supervisions=supervisions)
    # A cut of a recording is named anew; what we wrote is the recording's name.
    return _lhotse_rows(dataclasses.replace(cut, id=cut.recording_id) for cut in cuts)


def _read_kaldi_with_kaldiio(folder: Path) -> list[Row]:
    import kaldiio

    def column(name: str) -> dict[str, str]:
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        return {key: value for key, _, value in (line.partition(" ") for line in lines)}

    texts, speakers = column("text"), column("utt2spk")
    found = []
    for name, (rate, samples) in kaldiio.load_scp(str(folder / "wav.scp")).items():
        assert rate == RATE_HZ
        found.append(_row(name, texts.get(name), speakers.get(name), len(samples) / rate, samples))
    return found


def _dataset_rows(dataset: Iterable[Any]) -> list[Row]:
    found = []
    for row in dataset:
        samples, rate = row["audio"]["array"], row["audio"]["sampling_rate"]
        assert rate == RATE_HZ
        found.append(_row(row["id"], row["transcription"], row["speaker_id"], len(samples) / rate, samples))
    return found


def _audio_folder(folder: Path) -> Any:
    import datasets

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:
        return datasets.load_dataset(
            "audiofolder", data_dir=str(folder), split="train", cache_dir=cache, keep_in_memory=True
        )


def _read_nemo_with_datasets(folder: Path) -> list[Row]:
    """A line's file counts from the manifest, as NeMo reads it."""
    import datasets
    import soundfile

    with tempfile.TemporaryDirectory() as cache:
        rows = datasets.load_dataset(
            "json", data_files=str(folder / "manifest.jsonl"), split="train", cache_dir=cache, keep_in_memory=True
        )
    found = []
    for row in rows:
        samples, rate = soundfile.read(folder / row["audio_filepath"], dtype="int16")
        assert abs(row["duration"] - len(samples) / rate) < 1e-6
        found.append(_row(row["id"], row["text"], row["speaker"], row["duration"], samples))
    return found


READERS: dict[str, Callable[[Path], list[Row]]] = {
    "cuts.jsonl.gz, lhotse": lambda folder: _lhotse_rows(_unpacked_cuts(folder)),
    "wav.scp and others, lhotse": _read_kaldi_with_lhotse,
    "wav.scp and others, kaldiio": _read_kaldi_with_kaldiio,
    "metadata.jsonl, datasets": lambda folder: _dataset_rows(_audio_folder(folder)),
    "manifest.jsonl, datasets": _read_nemo_with_datasets,
}


def _write_cuts(folder: Path, out: Path) -> list[Row]:
    cuts = _unpacked_cuts(folder)
    cuts.to_file(out / "cuts.jsonl.gz")
    return _lhotse_rows(cuts)


def _write_manifests(folder: Path, out: Path) -> list[Row]:
    cuts = _unpacked_cuts(folder)
    cuts.decompose(output_dir=out, verbose=False)
    return _lhotse_rows(cuts)


def _write_parts(folder: Path, out: Path) -> list[Row]:
    """Half of each recording, from a place within."""
    import lhotse

    cuts = _unpacked_cuts(folder)
    parts = lhotse.CutSet.from_cuts(
        cut.truncate(offset=round(cut.duration / 5, 3), duration=round(cut.duration / 2, 3)) for cut in cuts
    )
    parts.to_file(out / "cuts.jsonl.gz")
    return _lhotse_rows(parts)


def _write_saved_audio(folder: Path, out: Path) -> list[Row]:
    cuts = _unpacked_cuts(folder)
    for cut in cuts:  # an id with a slash goes into a folder, which lhotse does not make
        (out / "audio" / cut.id[:3] / cut.id).parent.mkdir(parents=True, exist_ok=True)
    cuts = cuts.save_audios(out / "audio", format="flac", progress_bar=False)
    cuts.to_file(out / "cuts.jsonl.gz")
    return _lhotse_rows(cuts)


def _shar(audio_format: Any) -> Callable[[Path, Path], list[Row]]:
    def write(folder: Path, out: Path) -> list[Row]:
        import lhotse

        _unpacked_cuts(folder).to_shar(out, fields={"recording": audio_format}, shard_size=40)
        return _lhotse_rows(lhotse.CutSet.from_shar(in_dir=out))

    return write


def _write_kaldi(folder: Path, out: Path) -> list[Row]:
    import lhotse

    cuts = _unpacked_cuts(folder)
    recordings, supervisions, _ = cuts.decompose(verbose=False)
    lhotse.kaldi.export_to_kaldi(recordings, supervisions, out)
    return _lhotse_rows(cuts)


def _write_saved_dataset(folder: Path, out: Path) -> list[Row]:
    dataset = _audio_folder(folder)
    dataset.save_to_disk(str(out), num_shards=2)
    return _dataset_rows(dataset)


def _write_parquet(folder: Path, out: Path) -> list[Row]:
    dataset = _audio_folder(folder)
    dataset.to_parquet(str(out / "train.parquet"), batch_size=40)
    return _dataset_rows(dataset)


def _write_arrays(folder: Path, out: Path) -> list[Row]:
    """Audio that was given as numbers, which it keeps as WAV without a name."""
    import datasets

    columns: dict[str, list[Any]] = {name: [] for name in ("audio", "id", "transcription", "speaker_id")}
    for row in _audio_folder(folder):
        for name, values in columns.items():
            values.append(row[name] if name != "audio" else {"array": row[name]["array"], "sampling_rate": RATE_HZ})
    features = datasets.Features(
        {name: datasets.Value("string") if name != "audio" else datasets.Audio(RATE_HZ) for name in columns}
    )
    dataset = datasets.Dataset.from_dict(columns, features=features)
    dataset.save_to_disk(str(out))
    return _dataset_rows(dataset)


WRITERS: dict[str, Callable[[Path, Path], list[Row]]] = {
    "lhotse: cuts": _write_cuts,
    "lhotse: recordings and supervisions": _write_manifests,
    "lhotse: parts of recordings": _write_parts,
    "lhotse: cuts with audio saved": _write_saved_audio,
    "lhotse: Shar, wav": _shar("wav"),
    "lhotse: Shar, flac": _shar("flac"),
    "lhotse: Kaldi folder": _write_kaldi,
    "datasets: save_to_disk": _write_saved_dataset,
    "datasets: save_to_disk, from arrays": _write_arrays,
    "datasets: to_parquet": _write_parquet,
}


def _tried(work: Callable[..., list[Row]], *folders: Path) -> list[Row] | str:
    try:
        return work(*folders)
    except Exception as error:  # whatever it is goes into the table
        return f"{type(error).__name__}: {error}"


def main() -> None:
    """Read, or write."""
    folder = Path(sys.argv[2])
    answer: dict[str, list[Row] | str] = {}
    if sys.argv[1] == "read":
        for name, read in READERS.items():
            answer[name] = _tried(read, folder)
    else:
        for number, (name, write) in enumerate(WRITERS.items()):
            out = Path(sys.argv[3]) / str(number)
            out.mkdir()
            answer[name] = _tried(write, folder, out)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
