from __future__ import annotations

import numpy as np
import pytest

from w2v2_ray.data.text import Tokenizer
from w2v2_ray.errors import DatasetError
from w2v2_ray.recognition.greedy import GreedyDecoder
from w2v2_ray.recognition.measuring import Timing, judgeable, measure
from w2v2_ray.spec.text import TextSpec

VOCABULARY = ("<s>", "<pad>", "</s>", "<unk>", "|", *"ABC")


class Data:
    """Utterance n has n + 1 seconds, all samples n, and a transcript."""

    def __init__(self, *transcripts):
        self._transcripts = transcripts
        self.num_samples = np.array([16_000 * (n + 1) for n in range(len(transcripts))])

    def __len__(self):
        return len(self._transcripts)

    def audio(self, index):
        return np.full(self.num_samples[index], index, dtype=np.int16)

    def transcript(self, index):
        return self._transcripts[index]

    def utterance_id(self, index):
        return f"u{index}"

    def speaker(self, index):
        return "s"


class Ear:
    """Understands A in every utterance, and B where the batch is one that `confused_by` names."""

    def __init__(self, unknown="reject", confused_by=0):
        self.tokenizer = Tokenizer(VOCABULARY, TextSpec(unknown=unknown))
        self.batches = []
        self._confused_by = confused_by

    def log_probs(self, waveforms):
        self.batches.append([int(waveform[0]) for waveform in waveforms])
        output = "B" if len(waveforms) == self._confused_by else "A"
        frame = np.full((1, len(VOCABULARY)), -20.0, dtype=np.float32)
        frame[0, VOCABULARY.index(output)] = 0.0
        return [frame for _ in waveforms]


def test_utterances_that_cannot_be_judged_are_counted_by_reason():
    chosen = judgeable(Data("a", None, " ", "x", "b"), Ear())
    assert chosen.indices == (4, 0)
    assert chosen.references == ("B", "A")
    assert (chosen.without_transcript, chosen.unspellable) == (2, 1)


def test_the_limit_counts_what_is_judged_and_keeps_the_datasets_order():
    chosen = judgeable(Data(None, "a", "b", "c"), Ear(), limit=2)
    assert chosen.indices == (2, 1)
    assert chosen.without_transcript == 1


def test_a_dataset_with_nothing_to_judge_says_why():
    with pytest.raises(DatasetError, match=r"none of the 3 .* 2 have no transcript, 1 one with characters outside"):
        judgeable(Data(None, "", "x"), Ear())


def test_every_batch_size_hears_all_and_a_warm_up_is_not_measured():
    data, ear = Data("a", "b", "a", "c", "a"), Ear()
    chosen = judgeable(data, ear)
    seen = []
    scored, timings = measure(data, chosen, ear, GreedyDecoder(VOCABULARY), (2, 4), lambda *at: seen.append(at))
    assert ear.batches == [[4, 3], [4, 3], [2, 1], [0], [4, 3, 2, 1], [4, 3, 2, 1], [0]]
    assert [(t.batch_size, len(t.batches_s), t.audio_s, t.changed) for t in timings] == [(2, 3, 15, 0), (4, 2, 15, 0)]
    assert [(one.id, one.reference, one.hypothesis) for one in scored[:2]] == [("u4", "A", "A"), ("u3", "C", "A")]
    assert seen[-1] == (10, 10)


def test_transcripts_that_a_batch_size_changes_are_counted():
    data, ear = Data("a", "b", "a"), Ear(confused_by=2)
    scored, timings = measure(data, judgeable(data, ear), ear, GreedyDecoder(VOCABULARY), (1, 2))
    assert [one.hypothesis for one in scored] == ["A", "A", "A"]
    assert [timing.changed for timing in timings] == [0, 2]


def test_shares_of_workers_cover_everything_once():
    chosen = judgeable(Data(*"aabbc"), Ear())
    shares = [chosen.share(rank, 2) for rank in range(2)]
    assert [share.indices for share in shares] == [(4, 2, 0), (3, 1)]
    assert [share.references for share in shares] == [("C", "B", "A"), ("B", "A")]


def test_times_of_workers_are_one_distribution():
    merged = Timing.merged([Timing(4, (0.1, 0.3), 8.0, 1), Timing(4, (0.2,), 2.0)]).as_dict()
    assert merged["batches"] == 3
    assert merged["mean_ms"] == pytest.approx(200)
    assert merged["p90_ms"] == pytest.approx(280)
    assert merged["real_time_factor"] == pytest.approx(0.06)
    assert merged["changed_transcripts"] == 1
