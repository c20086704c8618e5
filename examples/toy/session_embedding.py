"""The claim of session embeddings on made voices in made sessions; `train_session_embedding.py --toy` runs it.

An ECAPA-TDNN learns to tell speakers apart from their first three sessions, and so leaks which session it hears. It is
then left as it is, and a session network on top of it learns from more sessions of the same speakers. The weight of the
compensation, and the threshold, come from a development list of other speakers in other sessions; what is reported are
trials of a third group, in sessions that nothing has heard:

| list | one speaker | two speakers |
|---|---|---|
| hard | in two sessions | in one session |
| easy | in one session | in two sessions |
| mixed | both | both |

Two controls: the session network as it was drawn, and one trained on session labels that were shuffled within each
speaker. Both get a weight of their own from the same development list. Seeds have sessions and utterances of their own.
"""

import argparse
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from toy.runs import note, open_output, run_jobs, save_card, save_in_half

from avzoo import (
    SessionEmbeddingForXVector,
    SpeakerEncoderConfig,
    SpeakerEncoderForXVector,
    SpeakerFeatureExtractor,
)
from avzoo.data.trial_lists import Trials
from avzoo.metrics import equal_error_rate, score_trials
from avzoo.metrics.verification import calibrate, error_rates_at
from avzoo.models.session_embedding import SpeakerEncoderOutput, fit_compensation
from avzoo.models.session_embedding.training_session_embedding import (
    SpeakerSampler,
    SpeakerTraining,
    fit_session_head,
    session_error_rate,
)
from avzoo.toyworld.sessions import Sessions, Trial
from avzoo.training import TrainingArguments, train

SECONDS = 1.0  # of a recording
GROUPS, GROUP_SPEAKERS = 4, 14  # of training speakers; each group has sessions of its own
ENCODER_SESSIONS, HEAD_SESSIONS = 3, 24  # of a group; the encoder hears the first ones
ENCODER_UTTERANCES, HEAD_UTTERANCES = 8, 2  # of a speaker in a session
DEVELOPMENT_SPEAKERS, TEST_SPEAKERS, HELD_OUT_SESSIONS, HELD_OUT_UTTERANCES = 16, 24, 8, 4
LEARNING_RATE = 3e-3
SIZES = {
    "num_mel_bins": 40,
    "hidden_size": 64,
    "aggregation_size": 192,
    "squeeze_size": 32,
    "attention_size": 32,
    "embedding_size": 64,
}
HEADS = ("trained", "untrained", "shuffled labels")
LISTS = ("hard", "mixed", "easy")


@dataclass(frozen=True)
class Job:
    """All that one seed asks for, and where its model goes."""

    seed: int
    encoder_steps: int
    head_steps: int
    session_source: str
    num_trials: int
    output: Path


class Recordings:
    """All clips of worlds, rendered.

    Args:
        waveforms: (recordings, samples). speakers, sessions: (recordings,). rows: {id of a clip: its number}.
    """

    def __init__(self, worlds: Sequence[Sessions]):
        clips = [clip for world in worlds for clip in world.iterate(num_workers=1)]  # seeds already share the cores
        self.waveforms = torch.from_numpy(np.stack([clip["audio"] for clip in clips]))
        self.speakers = np.array([clip["speaker"] for clip in clips])
        self.sessions = np.array([clip["session"] for clip in clips])
        self.rows = {clip["id"]: row for row, clip in enumerate(clips)}

    def compare(self, vectors: torch.Tensor, trials: Trials) -> np.ndarray:
        """Cosines of the trials' pairs; `vectors` is (recordings, size)."""
        rows = [self.rows[name] for name in trials.recordings]
        return score_trials(vectors[rows], trials.pairs, "full")


@dataclass(frozen=True)
class Result:
    """What one seed gave; rates in per cent.

    Args:
        weights: {head: weight of the compensation}.
        session_errors: {head: equal error rate of telling one session of a test speaker from two}.
        rates: {head: {list: (equal error rate of the speaker similarity, of the compensated score)}}.
        thresholds: {threshold: (its value, false rejects, false accepts)}, see [`compare_thresholds`].
        development: the list that the weights were fitted on.
    """

    weights: dict[str, float]
    session_errors: dict[str, float]
    rates: dict[str, dict[str, tuple[float, float]]]
    thresholds: dict[str, tuple[float, float, float]]
    development: str


def show_claim(options: argparse.Namespace) -> None:
    """Train, test and print; save the model of the first seed in `options.output_dir`."""
    begin = time.perf_counter()
    with open_output(options.output_dir) as (output, scratch):
        steps = options.toy_encoder_steps, options.toy_head_steps
        jobs = [
            Job(seed, *steps, options.session_source or "embedding", options.toy_trials, scratch / str(seed))
            for seed in options.toy_seeds
        ]
        results = []
        for job, result in run_jobs(run, jobs):
            before, after = result.rates["trained"]["hard"]
            note(f"seed {job.seed}: equal error rate on the hard list {before:.1f} % -> {after:.1f} %", begin)
            results.append(result)
        save_shipped(output, jobs[0].output, results)
    print(table(results))
    print(f"\n{time.perf_counter() - begin:.0f} s in all; model saved in {output}")


def run(job: Job) -> Result:
    """Train and test with one seed, in a worker process."""
    encoder = train_encoder(job)
    worlds = make_worlds(job.seed)
    parts = {name: Recordings(worlds[name]) for name in ("head", "development", "test")}
    outputs = {name: embed(encoder, part.waveforms) for name, part in parts.items()}
    lists = {
        name: make_lists(worlds[name][0].trials(job.num_trials, job.seed), f"synthetic {name}, seed {job.seed}")
        for name in ("development", "test")
    }
    speaker_scores = {
        name: {kind: parts[name].compare(outputs[name]["embeddings"], trials) for kind, trials in of_part.items()}
        for name, of_part in lists.items()
    }
    result = Result({}, {}, {}, {}, lists["development"]["mixed"].name)
    for head in HEADS:
        model = train_head(head, encoder, outputs["head"], parts["head"], job)
        session_vectors = {name: embed_sessions(model, output) for name, output in outputs.items()}
        session_scores = {
            name: {kind: parts[name].compare(session_vectors[name], trials) for kind, trials in of_part.items()}
            for name, of_part in lists.items()
        }
        compensation = fit_compensation(
            lists["development"]["mixed"],
            speaker_scores["development"]["mixed"],
            session_scores["development"]["mixed"],
        )
        result.weights[head] = compensation.weight
        test = parts["test"]
        result.session_errors[head] = session_error_rate(session_vectors["test"], test.sessions, test.speakers)
        scores = {
            name: {kind: values - compensation.weight * session_scores[name][kind] for kind, values in of_part.items()}
            for name, of_part in speaker_scores.items()
        }
        result.rates[head] = {
            kind: tuple(
                equal_error_rate(part["test"][kind], trials.require_labels()) for part in (speaker_scores, scores)
            )
            for kind, trials in lists["test"].items()
        }
        if head == "trained":
            for name, part in (("speaker similarity", speaker_scores), ("compensated score", scores)):
                for threshold, numbers in compare_thresholds(part, lists).items():
                    result.thresholds[f"{name}, {threshold}"] = numbers
            model.config.compensation = compensation.to_config()
            labels = lists["development"]["mixed"].require_labels()
            model.config.threshold = calibrate(scores["development"]["mixed"], labels).threshold
            save_in_half(model, job.output)
    return result


def make_worlds(seed: int) -> dict[str, list[Sessions]]:
    """{part: worlds}; the development and test parts share no speaker and no session with another part."""
    first_session = 1000 * seed

    def make_training(split: str, sessions: int, utterances: int) -> list[Sessions]:
        return [
            Sessions(
                GROUP_SPEAKERS * sessions * utterances,
                seed,
                split=split,
                num_speakers=GROUP_SPEAKERS,
                first_speaker=group * GROUP_SPEAKERS,
                num_sessions=sessions,
                first_session=first_session + group * HEAD_SESSIONS,
                seconds=SECONDS,
            )
            for group in range(GROUPS)
        ]

    def make_held_out(split: str, speakers: int, first_speaker: int, offset: int) -> list[Sessions]:
        world = Sessions(
            speakers * HELD_OUT_SESSIONS * HELD_OUT_UTTERANCES,
            seed,
            split=split,
            num_speakers=speakers,
            first_speaker=first_speaker,
            num_sessions=HELD_OUT_SESSIONS,
            first_session=first_session + offset,
            seconds=SECONDS,
        )
        return [world]

    training_speakers = GROUPS * GROUP_SPEAKERS
    return {
        "encoder": make_training("encoder", ENCODER_SESSIONS, ENCODER_UTTERANCES),
        "head": make_training("head", HEAD_SESSIONS, HEAD_UTTERANCES),
        "development": make_held_out("development", DEVELOPMENT_SPEAKERS, training_speakers, 800),
        "test": make_held_out("test", TEST_SPEAKERS, training_speakers + DEVELOPMENT_SPEAKERS, 900),
    }


def make_lists(trials: Sequence[Trial], name: str) -> dict[str, Trials]:
    """{"hard", "mixed", "easy": trials}, see above."""
    parts = {
        "hard": [trial for trial in trials if trial.same_speaker != trial.same_session],
        "mixed": list(trials),
        "easy": [trial for trial in trials if trial.same_speaker == trial.same_session],
    }
    return {
        kind: Trials.from_names(
            f"{name}, {kind}", [(trial.first, trial.second) for trial in part], [trial.same_speaker for trial in part]
        )
        for kind, part in parts.items()
    }


class SpeakerClips(torch.utils.data.Dataset):
    """Speakers, each as one of the speaker's recordings, drawn anew each time."""

    def __init__(self, recordings: Recordings):
        self.waveforms = recordings.waveforms
        self.rows = [np.flatnonzero(recordings.speakers == speaker) for speaker in np.unique(recordings.speakers)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self.rows[index][int(torch.randint(len(self.rows[index]), ()))]
        return {"input_values": self.waveforms[row][None], "labels": torch.tensor(index)}


def train_encoder(job: Job) -> SpeakerEncoderForXVector:
    """An ordinary encoder: it has heard each speaker in few sessions, and knows nothing of sessions."""
    clips = SpeakerClips(Recordings(make_worlds(job.seed)["encoder"]))
    torch.manual_seed(job.seed)
    encoder = SpeakerEncoderForXVector(SpeakerEncoderConfig(**SIZES))
    batch_size = len(clips) * 3 // 4
    arguments = TrainingArguments(
        output_dir=str(job.output / "encoder"),
        max_steps=job.encoder_steps,
        batch_size=batch_size,
        learning_rate=LEARNING_RATE,
        weight_decay=1e-3,
        max_gradient_norm=None,
        schedule="one_cycle",
        seed=job.seed,
        cpu=True,
        progress_bar=False,  # several at once would overwrite each other
    )
    network = SpeakerTraining(encoder, len(clips), margin=0.2)
    train(network, clips, arguments, sampler=SpeakerSampler([30] * len(clips), batch_size))
    return encoder.eval()


@torch.inference_mode()
def embed(encoder: SpeakerEncoderForXVector, waveforms: torch.Tensor) -> dict[str, torch.Tensor]:
    """`embeddings` and `pooled` of recordings, (recordings, size) each."""
    outputs = [encoder(part) for part in waveforms.split(64)]
    return {name: torch.cat([output[name] for output in outputs]).clone() for name in ("embeddings", "pooled")}


@torch.no_grad()
def embed_sessions(model: SessionEmbeddingForXVector, output: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """(recordings, session_embedding_size) of what [`embed`] gave."""
    return model.embed_session(SpeakerEncoderOutput(**output))


def train_head(
    head: str,
    encoder: SpeakerEncoderForXVector,
    output: Mapping[str, torch.Tensor],
    recordings: Recordings,
    job: Job,
) -> SessionEmbeddingForXVector:
    """A session network on the encoder: one of `HEADS`."""
    torch.manual_seed(job.seed)  # all three begin with the same weights
    model = SessionEmbeddingForXVector.from_encoder(encoder, session_source=job.session_source)
    sessions = recordings.sessions.copy()
    if head == "shuffled labels":
        generator = np.random.default_rng(job.seed)
        for speaker in np.unique(recordings.speakers):
            own = recordings.speakers == speaker
            sessions[own] = generator.permutation(sessions[own])
    if head != "untrained":
        vectors = output["pooled" if job.session_source == "pooled" else "embeddings"]
        fit_session_head(vectors, sessions, recordings.speakers, model, num_steps=job.head_steps, seed=job.seed)
    return model.eval()


def compare_thresholds(
    scores: Mapping[str, Mapping[str, np.ndarray]], lists: Mapping[str, Mapping[str, Trials]]
) -> dict[str, tuple[float, float, float]]:
    """(threshold, false rejects, false accepts) where test speakers were enrolled in another session.

    The shipped threshold was set where it is often set: on development trials within sessions. The calibrated one was
    set on development trials like those of the use. Both are points of equal error rates.
    """
    answer = {}
    for name, kind in (("shipped", "easy"), ("calibrated", "hard")):
        labels = lists["development"][kind].require_labels()
        threshold = calibrate(scores["development"][kind], labels).threshold
        accepts, rejects = error_rates_at(scores["test"]["hard"], lists["test"]["hard"].require_labels(), threshold)
        answer[name] = threshold, rejects, accepts
    return answer


# ------------------------------------------------------------------------------------------------------ results


def table(results: Sequence[Result]) -> str:
    """The claim, its controls, and what enrolment in another session does at a threshold."""
    lines = [
        "equal error rate in per cent on synthetic data (made voices in made sessions), speaker similarity -> "
        "compensated score;",
        "mean over seeds, and seed by seed",
        "",
        f"{'session network':<17}{'list':<7}{'mean':>14}{'change':>9}  seed by seed",
    ]
    for head in HEADS:
        for kind in LISTS:
            before, after = collect_rates(results, head, kind)
            change = 100 * (after.mean() / before.mean() - 1) if before.mean() else np.nan
            seeds = " ".join(f"{one:.1f}->{other:.1f}" for one, other in zip(before, after, strict=True))
            means = f"{before.mean():.1f} -> {after.mean():.1f}"
            lines.append(f"{head:<17}{kind:<7}{means:>14}{change:>+7.1f} %  {seeds}")
    lines += ["", f"{'session network':<17}{'weight':>7}  seed by seed        one session or two, EER %"]
    for head in HEADS:
        weights = [result.weights[head] for result in results]
        errors = [result.session_errors[head] for result in results]
        seeds = " ".join(f"{weight:.2f}" for weight in weights)
        lines.append(f"{head:<17}{np.mean(weights):7.2f}  {seeds:<18}  " + " ".join(f"{error:.1f}" for error in errors))
    lines.append(
        f"weights were fitted on the mixed list of other speakers in other sessions ({results[0].development})"
    )
    lines += [
        "",
        "enrolled in one session, tested in another (hard list), in per cent, mean over seeds",
    ]
    for name in results[0].thresholds:
        threshold, rejects, accepts = np.mean([result.thresholds[name] for result in results], axis=0)
        lines.append(f"{name:<32} threshold {threshold:5.2f}: {rejects:5.1f} % rejected, {accepts:5.1f} % accepted")
    return "\n".join([*lines, "", *judge(results)])


def collect_rates(results: Sequence[Result], head: str, kind: str) -> np.ndarray:
    """(2, seeds): without and with compensation."""
    return np.array([result.rates[head][kind] for result in results]).T


def judge(results: Sequence[Result]) -> list[str]:
    """Which of the claim's bounds hold, on the mean over seeds, and by how much those that don't are missed."""
    lines = []
    for head in HEADS:
        before, after = collect_rates(results, head, "hard")
        fall = 100 * (1 - after.mean() / before.mean())
        falls = 100 * (1 - after / before)
        seeds = f"spread {np.std(falls, ddof=1):.1f}" if len(falls) > 1 else "one seed"
        if head == "trained":
            verdict = "holds" if fall >= 15 else f"missed by {15 - fall:.1f}"
            lines.append(f"{verdict}: the hard list falls by {fall:.1f} % ({seeds}), at least 15 %")
        else:
            verdict = "holds" if fall < 5 else f"missed by {fall - 5:.1f}"
            lines.append(f"{verdict}: by {fall:.1f} % ({seeds}) with the control {head!r}, less than 5 %")
    before, after = collect_rates(results, "trained", "mixed")
    rise, error = after.mean() - before.mean(), estimate_error(results)
    verdict = "holds" if rise <= error else f"missed by {rise - error:.1f}"
    lines.append(f"{verdict}: the mixed list changes by {rise:+.1f}, at most the sampling error of {error:.1f}")
    return lines


def estimate_error(results: Sequence[Result]) -> float:
    """Sampling error of the mixed list's rate, in per cent points.

    Trials share speakers and sessions, so the number of trials would make it far too small: the standard deviation over
    seeds, each of which has its own sessions and utterances, of the rate without compensation.
    """
    before, _ = collect_rates(results, "trained", "mixed")
    return float(np.std(before, ddof=1)) if len(before) > 1 else 1.5


def save_shipped(output: Path, trained: Path, results: Sequence[Result]) -> None:
    """Model, extractor and card of the first seed, as one folder for `from_pretrained`."""
    for file in ("config.json", "model.safetensors"):
        shutil.copyfile(trained / file, output / file)
    SpeakerFeatureExtractor().save_pretrained(output)
    first, measured = results[0], {}
    for kind in LISTS:
        before, after = first.rates["trained"][kind]
        measured[f"equal error rate, {kind} list of synthetic trials, without and with compensation"] = (
            f"{before:.1f} %, {after:.1f} %"
        )
    measured["weight of the session similarity, fitted on the mixed list of other speakers in other sessions"] = (
        f"{first.weights['trained']:.2f}"
    )
    for head in HEADS:
        before, after = collect_rates(results, head, "hard")
        seeds = ", ".join(f"{100 * (other / one - 1):+.0f} %" for one, other in zip(before, after, strict=True))
        measured[f"change on the hard list, seed by seed, session network {head}"] = seeds
    save_card("session_embedding", output, measured)
