"""Six spoken tones in the form of every corpus that `prepare` reads: the same ids, texts, speakers and samples."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

RATE_HZ = 16_000


@dataclass(frozen=True)
class Said:
    id: str
    speaker: str
    text: str
    samples: np.ndarray


def said() -> list[Said]:
    """What every form holds, in the order of the ids."""
    rng = np.random.default_rng(0)
    texts = ("one two", "three", "four five six", "seven", "eight nine", "ten")
    return [
        Said(
            f"{speaker}-{number}",
            speaker,
            text,
            (6_000 * np.sin(np.arange(8_000 + 800 * number) * 0.1) + rng.normal(0, 800, 8_000 + 800 * number)).astype(
                np.int16
            ),
        )
        for number, (speaker, text) in enumerate(zip(("ann", "ann", "ann", "bob", "bob", "bob"), texts, strict=True))
    ]


def wav_bytes(samples: np.ndarray, audio_format: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE_HZ, subtype="PCM_16", format=audio_format)
    return buffer.getvalue()


def write_wavs(folder: Path, rows: list[Said]) -> None:
    folder.mkdir(parents=True)
    for row in rows:
        (folder / f"{row.id}.wav").write_bytes(wav_bytes(row.samples))


def write_recordings(folder: Path, rows: list[Said]) -> dict[str, list[tuple[Said, float, float]]]:
    """One long file for each speaker, and where in it each row is."""
    folder.mkdir(parents=True)
    found: dict[str, list[tuple[Said, float, float]]] = {}
    for speaker in dict.fromkeys(row.speaker for row in rows):
        parts, place = [np.zeros(1_600, np.int16)], 1_600
        for row in (row for row in rows if row.speaker == speaker):
            found.setdefault(speaker, []).append((row, place / RATE_HZ, (place + len(row.samples)) / RATE_HZ))
            parts += [row.samples, np.zeros(3_200, np.int16)]
            place += len(row.samples) + 3_200
        (folder / f"{speaker}.wav").write_bytes(wav_bytes(np.concatenate(parts)))
    return found


def kaldi(root: Path, rows: list[Said]) -> Path:
    """As the recipes write it: commands that decode, paths from where the recipe runs."""
    write_wavs(root / "audio", rows)
    data = root / "data" / "train"
    data.mkdir(parents=True)
    commands = ("cat {} |", "{}", "sox {} -t wav - |", "ffmpeg -i {} -f wav -ar 16000 - |", "sph2pipe -f wav -p {} |")
    (data / "wav.scp").write_text(
        "".join(f"{row.id} {commands[n % 5].format(f'audio/{row.id}.wav')}\n" for n, row in enumerate(rows))
    )
    (data / "text").write_text("".join(f"{row.id} {row.text}\n" for row in rows))
    (data / "utt2spk").write_text("".join(f"{row.id} {row.speaker}\n" for row in rows))
    (data / "spk2utt").write_text("ann x\n")
    return data


def kaldi_segments(root: Path, rows: list[Said]) -> Path:
    recordings = write_recordings(root / "audio", rows)
    (root / "wav.scp").write_text("".join(f"{speaker} {root}/audio/{speaker}.wav\n" for speaker in recordings))
    parts = [(speaker, *part) for speaker, found in recordings.items() for part in found]
    (root / "segments").write_text(
        "".join(f"{row.id} {speaker} {start:.4f} {end:.4f}\n" for speaker, row, start, end in parts)
    )
    (root / "text").write_text("".join(f"{row.id} {row.text}\n" for row in rows))
    (root / "utt2spk").write_text("".join(f"{row.id} {row.speaker}\n" for row in rows))
    return root


def sphinx(root: Path, rows: list[Said]) -> Path:
    for speaker in dict.fromkeys(row.speaker for row in rows):
        write_wavs(root / "wav" / "clips" / speaker, [row for row in rows if row.speaker == speaker])
    (root / "etc").mkdir()
    (root / "etc" / "tones_train.fileids").write_text("".join(f"clips/{row.speaker}/{row.id}\n" for row in rows))
    (root / "etc" / "tones_train.transcription").write_text(
        "".join(f"<s> {row.text.replace('two', 'two(2)')} <sil> </s> ({row.id})\n" for row in rows)
    )
    (root / "etc" / "tones.dic").write_text("ONE W AH N\n")
    return root


def _lines(path: Path, entries: list[dict]) -> Path:
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def _recording(name: str, path: str, samples: int) -> dict:
    source = {"type": "file", "channels": [0], "source": path}
    return {
        "id": name, "sources": [source], "sampling_rate": RATE_HZ, "num_samples": samples,
        "duration": samples / RATE_HZ, "channel_ids": [0],
    }  # fmt: skip


def _supervision(row: Said, recording: str, start: float, end: float) -> dict:
    return {
        "id": row.id, "recording_id": recording, "start": start, "duration": end - start, "channel": 0,
        "text": row.text, "speaker": row.speaker,
    }  # fmt: skip


def lhotse_manifests(root: Path, rows: list[Said]) -> Path:
    recordings = write_recordings(root / "audio", rows)
    entries = [
        _recording(name, f"audio/{name}.wav", soundfile.info(root / "audio" / f"{name}.wav").frames)
        for name in recordings
    ]
    _lines(root / "tones_recordings_train.jsonl.gz", entries)
    _lines(
        root / "tones_supervisions_train.jsonl.gz",
        [_supervision(row, name, start, end) for name, found in recordings.items() for row, start, end in found],
    )
    return root


def lhotse_cuts(root: Path, rows: list[Said]) -> Path:
    recordings = write_recordings(root / "audio", rows)
    cuts = [
        {
            "id": row.id, "start": start, "duration": end - start, "channel": 0, "type": "MonoCut",
            "supervisions": [_supervision(row, name, 0.0, end - start)],
            "recording": _recording(name, str(root / "audio" / f"{name}.wav"), 1),
        }
        for name, found in recordings.items() for row, start, end in found
    ]  # fmt: skip
    return _lines(root / "cuts.jsonl.gz", cuts)


def nemo(root: Path, rows: list[Said]) -> Path:
    write_wavs(root / "wavs", rows)
    entries = [
        {"audio_filepath": f"wavs/{row.id}.wav", "text": row.text, "speaker": row.speaker,
         "duration": len(row.samples) / RATE_HZ}
        for row in rows
    ]  # fmt: skip
    return _lines(root / "manifest.jsonl", entries)


def _tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def webdataset(root: Path, rows: list[Said]) -> Path:
    root.mkdir()
    for number, part in enumerate((rows[:4], rows[4:])):
        members = []
        for row in part:
            fields = json.dumps({"speaker": row.speaker}).encode()
            members += [(f"{row.id}.wav", wav_bytes(row.samples)), (f"{row.id}.txt", row.text.encode())]
            members.append((f"{row.id}.json", fields))
        _tar(root / f"tones-{number:06d}.tar", members)
    return root


def nemo_tarred(root: Path, rows: list[Said]) -> Path:
    root.mkdir()
    _tar(root / "audio_0.tar", [(f"{row.id}.wav", wav_bytes(row.samples)) for row in rows[:3]])
    _tar(root / "audio_1.tar", [(f"{row.id}.wav", wav_bytes(row.samples)) for row in rows[3:]])
    entries = [
        {"audio_filepath": f"{row.id}.wav", "text": row.text, "speaker": row.speaker, "shard_id": number // 3}
        for number, row in enumerate(rows)
    ]
    _lines(root / "tarred_audio_manifest.json", entries)
    return root


def lhotse_shar(root: Path, rows: list[Said]) -> Path:
    """As `CutSet.to_shar` writes it, ids with a slash and a field beside the recordings included."""
    root.mkdir()
    for number, part in enumerate((rows[:4], rows[4:])):
        members, cuts = [], []
        for row in part:
            name = f"tones/{row.id}"
            recording = _recording(name, "", len(row.samples))
            recording["sources"][0]["type"] = "shar"
            members += [(f"{name}.wav", wav_bytes(row.samples)), (f"{name}.json", json.dumps(recording).encode())]
            end = len(row.samples) / RATE_HZ
            cuts.append(
                {"id": name, "start": 0, "duration": end, "channel": 0, "type": "MonoCut", "recording": recording,
                 "supervisions": [_supervision(row, name, 0.0, end)]}
            )  # fmt: skip
        _tar(root / f"recording.{number:06d}.tar", members)
        _tar(root / f"noise.{number:06d}.tar", members[:2])
        _lines(root / f"cuts.{number:06d}.jsonl.gz", cuts)
    return root


def _table(rows: list[Said]) -> pa.Table:
    audio = [{"bytes": wav_bytes(row.samples), "path": f"{row.id}.wav"} for row in rows]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.table(
        {
            "id": [row.id for row in rows],
            "audio": pa.array(audio, kind),
            "text": [row.text for row in rows],
            "speaker_id": [row.speaker for row in rows],
        }
    )


def parquet(root: Path, rows: list[Said]) -> Path:
    (root / "data").mkdir(parents=True)
    for number, part in enumerate((rows[:3], rows[3:])):
        pq.write_table(_table(part), root / "data" / f"train-{number:05d}-of-00002.parquet", row_group_size=2)
    return root / "data"


def saved_to_disk(root: Path, rows: list[Said]) -> Path:
    """As `datasets` writes it: Arrow's stream."""
    root.mkdir()
    table = _table(rows)
    with pa.OSFile(str(root / "data-00000-of-00001.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
        for batch in table.to_batches(max_chunksize=4):
            out.write_batch(batch)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}
    (root / "state.json").write_text(json.dumps(state))
    (root / "dataset_info.json").write_text("{}")
    return root


def common_voice(root: Path, rows: list[Said]) -> Path:
    write_wavs(root / "clips", rows)
    lines = ["client_id\tpath\tsentence", *(f"{row.speaker}\t{row.id}.wav\t{row.text}" for row in rows)]
    (root / "validated.tsv").write_text("\n".join(lines) + "\n")
    return root / "validated.tsv"


def voxpopuli(root: Path, rows: list[Said]) -> Path:
    write_wavs(root / "2020", rows)
    head = "id\traw_text\tnormalized_text\tspeaker_id\tsplit\tgender\tis_gold_transcript\taccent"
    lines = [f"{row.id}\t{row.text.title()}.\t{row.text}\t{row.speaker}\ttrain\tfemale\tTrue\tNone" for row in rows]
    (root / "asr_train.tsv").write_text("\n".join([head, *lines]) + "\n")
    return root / "asr_train.tsv"


def timit(root: Path, rows: list[Said]) -> Path:
    for speaker in dict.fromkeys(row.speaker for row in rows):
        folder = root / "TRAIN" / "DR1" / speaker
        folder.mkdir(parents=True)
        for row in (row for row in rows if row.speaker == speaker):
            (folder / f"{row.id}.WAV").write_bytes(wav_bytes(row.samples, "NIST"))
            (folder / f"{row.id}.TXT").write_text(f"0 {len(row.samples)} {row.text} \n")
            (folder / f"{row.id}.WRD").write_text(f"0 {len(row.samples)} {row.text.split()[0]}\n")
            (folder / f"{row.id}.PHN").write_text(f"0 100 h#\n100 {len(row.samples)} ae\n")
    return root


FORMS: dict[str, tuple[str, Callable[[Path, list[Said]], Path]]] = {
    "kaldi": ("kaldi", kaldi),
    "kaldi with segments": ("kaldi", kaldi_segments),
    "sphinx": ("sphinx", sphinx),
    "lhotse's recordings and supervisions": ("lhotse", lhotse_manifests),
    "lhotse's cuts": ("lhotse", lhotse_cuts),
    "lhotse's shar": ("tar", lhotse_shar),
    "nemo": ("jsonl", nemo),
    "nemo in archives": ("tar", nemo_tarred),
    "webdataset": ("tar", webdataset),
    "parquet": ("arrow", parquet),
    "saved to disk": ("arrow", saved_to_disk),
    "common voice": ("table", common_voice),
    "voxpopuli": ("table", voxpopuli),
    "timit": ("folder", timit),
}
"""How `prepare` calls each, and what writes it."""
