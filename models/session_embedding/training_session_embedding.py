"""What training a session network, or a speaker encoder, takes.

    fit = fit_session_head(embeddings, session_ids, speaker_ids, model)     # seconds, with your own microphones
    fit.num_speakers, fit.num_skipped_speakers, fit.losses[-1]

For [`avzoo.training.train`]: data sets whose samples are speakers, and a network with the loss that trains it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from avzoo.checks import check_choice, check_number, check_whole_number
from avzoo.data.draws import draw_whole_number
from avzoo.metrics.verification import equal_error_rate
from avzoo.training import make_schedule

from .augmentation import SessionAugmentation, read_random_segment
from .configuration_session_embedding import SessionEmbeddingConfig
from .loss_session import SessionLoss
from .loss_speaker import AAMSoftmaxLoss, SoftmaxPrototypicalLoss, SpeakerLossOutput
from .modeling_session_embedding import (
    SessionEmbeddingForXVector,
    SessionEmbeddingOutput,
    SessionHead,
    SpeakerEncoderForXVector,
)


class SessionTable:
    """Rows by speaker and session, to draw from: each speaker's sessions, each session's rows.

    Speakers with one session have no pair of different sessions: they are left out, and counted.

    Args:
        session_ids, speaker_ids: (rows,) of anything that NumPy can sort. A session is one of a speaker: two speakers
            may use the same names.

    Raises:
        ValueError: the shapes differ, or there are no pairs of one kind.
    """

    def __init__(self, session_ids: ArrayLike, speaker_ids: ArrayLike):
        session_ids, speaker_ids = np.asarray(session_ids), np.asarray(speaker_ids)
        if session_ids.ndim != 1 or session_ids.shape != speaker_ids.shape or not session_ids.size:
            raise ValueError(
                f"`session_ids` and `speaker_ids` must both be (rows,) and not empty, got {session_ids.shape} and "
                f"{speaker_ids.shape}."
            )
        speakers = np.unique(speaker_ids, return_inverse=True)[1]
        names = np.unique(session_ids, return_inverse=True)[1]
        sessions = np.unique(np.stack([speakers, names]), axis=1, return_inverse=True)[1].reshape(-1)
        self.order = np.argsort(sessions, kind="stable")  # rows, session by session, speaker by speaker
        self.first_row, self.num_rows = _find_runs(sessions[self.order])
        first_session, num_sessions = _find_runs(speakers[self.order][self.first_row])
        usable = num_sessions >= 2
        self.first_session, self.num_sessions = first_session[usable], num_sessions[usable]
        self.num_speakers, self.num_skipped_speakers = int(usable.sum()), int((~usable).sum())
        if not self.num_speakers:
            raise ValueError(
                f"`session_ids`: none of the {len(usable)} speakers has two sessions, so there is nothing to compare."
            )
        of_session = np.repeat(np.arange(len(usable)), num_sessions)
        if not (self.num_rows[usable[of_session]] >= 2).any():
            raise ValueError("`session_ids`: no session of a speaker with two has two rows, so none are to be alike.")

    def draw(self, speakers: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Two rows of two sessions of each speaker; one row of a session that has no second.

        Args:
            speakers: (count,), numbers below `num_speakers`.

        Returns:
            (drawn,) each: rows, numbers of their sessions, numbers of their speakers.
        """
        sessions = _draw_two(self.first_session[speakers], self.num_sessions[speakers], generator)  # (count, 2)
        sessions = sessions.reshape(-1)
        rows = _draw_two(self.first_row[sessions], self.num_rows[sessions], generator)  # (2 count, 2)
        is_new = np.stack([np.ones(len(rows), bool), self.num_rows[sessions] > 1], axis=1)
        ids = np.broadcast_to(sessions[:, None], rows.shape)
        return self.order[rows[is_new]], ids[is_new], np.repeat(speakers, 2)[:, None].repeat(2, 1)[is_new]


def _find_runs(sorted_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(first place, length) of each run of equal numbers."""
    first = np.flatnonzero(np.append(True, np.diff(sorted_ids) != 0))
    return first, np.diff(np.append(first, len(sorted_ids)))


def _draw_two(first: np.ndarray, count: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Two different numbers of `count` from `first` on, the same one twice where there is one: (runs, 2)."""
    one = generator.integers(count)
    other = (one + generator.integers(1, np.maximum(count, 2))) % count
    return first[:, None] + np.stack([one, other], axis=1)


@dataclass(frozen=True)
class SessionFit:
    """What [`fit_session_head`] gives.

    Args:
        head: trained, in evaluation mode.
        losses: of every step.
        num_speakers, num_skipped_speakers: used, and left out because they have one session only.
    """

    head: SessionHead
    losses: tuple[float, ...]
    num_speakers: int
    num_skipped_speakers: int


def fit_session_head(
    embeddings: ArrayLike | torch.Tensor,
    session_ids: ArrayLike,
    speaker_ids: ArrayLike,
    head: SessionHead | SessionEmbeddingForXVector | None = None,
    *,
    num_steps: int = 1000,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-4,
    loss: SessionLoss | None = None,
    seed: int = 0,
) -> SessionFit:
    """Train a session network on stored vectors of one's own recordings: 10,000 of them in less than a minute.

    AdamW with a cosine decay to 0. A step takes two recordings of two sessions of each of some speakers and compares
    them within each speaker. The same arguments give the same weights on one machine; the caller's random numbers go on
    as if nothing had been drawn.

    Args:
        embeddings: (recordings, size), what the network sees: `embeddings` of the speaker encoder's output, or `pooled`
            for a model whose `session_source` is that.
        session_ids, speaker_ids: (recordings,) of anything that can be sorted. A session is one of a speaker: two
            speakers may use the same names.
        head: trained in place; or a model, whose head is. None: a new one with the default sizes.
        num_steps: optimizer steps.
        batch_size: speakers per step; all of them, if there are fewer.
        learning_rate, weight_decay: of AdamW.
        loss: default: the model's, or the logistic one.
        seed: of the order, of dropout and of a new head's weights.

    Raises:
        ValueError: the shapes don't fit, NaN or infinite embeddings, no speaker with two sessions, no session with two
            recordings, a model without a head, a number out of range.
    """
    check_whole_number("num_steps", num_steps, at_least=1)
    check_whole_number("batch_size", batch_size, at_least=1)
    check_whole_number("seed", seed, at_least=0)
    check_number("learning_rate", learning_rate, above=0)
    check_number("weight_decay", weight_decay, at_least=0)
    embeddings = torch.as_tensor(embeddings).detach().float()
    if embeddings.ndim != 2 or len(embeddings) != len(session_ids):
        raise ValueError(
            f"`embeddings` must be (recordings, size) with an id for each, got {tuple(embeddings.shape)} and "
            f"{len(session_ids)} ids."
        )
    if not embeddings.isfinite().all():
        raise ValueError("`embeddings` holds NaN or infinite values.")
    table = SessionTable(session_ids, speaker_ids)
    if isinstance(head, SessionEmbeddingForXVector):
        loss = loss or head.session_loss
        if head.session_head is None:
            raise ValueError(f"`head`: a model with `session_source` {head.config.session_source!r} has none to train.")
        head = head.session_head
    loss = loss or SessionLoss()
    device = torch.device("cpu") if head is None else next(head.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        head = make_session_head(embeddings.shape[1]) if head is None else head
        size = head.layers[0].in_features
        if embeddings.shape[1] != size:
            raise ValueError(
                f"`embeddings` must be (recordings, {size}) for this `head`, got {tuple(embeddings.shape)}."
            )
        losses = _train_head(
            head.train(), embeddings, table, loss, num_steps, batch_size, learning_rate, weight_decay, seed
        )
    head.eval()
    return SessionFit(head, tuple(losses), table.num_speakers, table.num_skipped_speakers)


def make_session_head(size: int, config: SessionEmbeddingConfig | None = None) -> SessionHead:
    """A session network for vectors of this size, with weights drawn from torch's generator."""
    config = config or SessionEmbeddingConfig()
    return SessionHead(
        size,
        config.session_hidden_size,
        config.session_num_layers,
        config.session_embedding_size,
        config.session_dropout,
        centers=config.session_source == "pooled",
    )


def _train_head(
    head: SessionHead,
    embeddings: torch.Tensor,
    table: SessionTable,
    loss: SessionLoss,
    num_steps: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
) -> list[float]:
    device = head.layers[0].weight.device
    embeddings = embeddings.to(device)
    optimizer = torch.optim.AdamW(head.parameters(), lr=learning_rate, weight_decay=weight_decay)
    schedule = make_schedule("cosine", total_steps=num_steps)
    generator, losses = np.random.default_rng(seed), []
    for step in range(num_steps):
        speakers = generator.permutation(table.num_speakers)[:batch_size]
        rows, *ids = (torch.from_numpy(part.copy()).to(device) for part in table.draw(speakers, generator))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * schedule(step)
        value = loss(head(embeddings[rows]), *ids)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.detach())
    return torch.stack(losses).tolist()


def session_error_rate(session_embeddings: ArrayLike, session_ids: ArrayLike, speaker_ids: ArrayLike) -> float:
    """Equal error rate in per cent of telling one session from two, by the cosine, over all pairs within speakers.

    50 is chance: such an embedding says nothing of the session that the speaker doesn't.

    Args:
        session_embeddings: (recordings, size).
        session_ids, speaker_ids: (recordings,).

    Raises:
        ValueError: the shapes don't fit, or there are no pairs of one kind.
    """
    vectors = np.asarray(session_embeddings, np.float64)
    sessions, speakers = np.asarray(session_ids), np.asarray(speaker_ids)
    if vectors.ndim != 2 or sessions.shape != vectors.shape[:1] or speakers.shape != sessions.shape:
        raise ValueError(
            "`session_embeddings` must be (recordings, size), `session_ids` and `speaker_ids` (recordings,), got "
            f"{vectors.shape}, {sessions.shape} and {speakers.shape}."
        )
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    scores, labels = [], []
    for rows in _list_speakers(speakers):
        first, second = np.triu_indices(len(rows), 1)
        scores.append((vectors[rows] @ vectors[rows].T)[first, second])
        labels.append(sessions[rows[first]] == sessions[rows[second]])
    return equal_error_rate(np.concatenate(scores), np.concatenate(labels))


def _list_speakers(speakers: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of each speaker."""
    order = np.argsort(speakers, kind="stable")
    _, starts = np.unique(speakers[order], return_index=True)
    yield from np.split(order, starts[1:])


# ------------------------------------------------------------------------- samples and networks for the training loop

Row = Mapping[str, str]


class SessionRecordings(torch.utils.data.Dataset):
    """Speakers of a data set, each as crops of two recordings of two of the speaker's sessions.

    Each session gets one draw of the augmentation. Crops and draws come from torch's global generator, which the
    training loop seeds for each sample.

    Args:
        rows: with "speaker", "session" and "audio", a path; see [`avzoo.data.voxceleb`].
        crop_samples: length of a crop at 16 kHz; a shorter recording is repeated.
        augment: None: recordings as they are.
    """

    def __init__(self, rows: Sequence[Row], crop_samples: int, augment: SessionAugmentation | None = None):
        self.rows, self.crop_samples, self.augment = rows, crop_samples, augment
        self.table = SessionTable([row["session"] for row in rows], [row["speaker"] for row in rows])

    def __len__(self) -> int:
        return self.table.num_speakers

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        generator = _make_generator()
        numbers = np.random.default_rng(draw_whole_number(2**62, generator))
        rows, sessions, speakers = self.table.draw(np.array([index]), numbers)
        crops = [read_random_segment(self.rows[row]["audio"], self.crop_samples, generator) for row in rows]
        if self.augment is not None:
            for session in dict.fromkeys(sessions.tolist()):
                places = np.flatnonzero(sessions == session)
                for place, crop in zip(places, self.augment([crops[p] for p in places], generator), strict=True):
                    crops[place] = crop
        return {
            "input_values": torch.from_numpy(np.stack(crops)),
            "session_ids": torch.from_numpy(sessions.copy()),
            "speaker_ids": torch.from_numpy(speakers.copy()),
        }


class SessionCopies(torch.utils.data.Dataset):
    """Every session of a data set, several times, to be embedded and stored: each copy has draws of its own.

    With augmentation each copy of a session is a session, too. Samples are `input_values` (recordings, crop_samples),
    `session` and `speaker`; the same ones whoever asks for them in which order.

    Args:
        rows, crop_samples, augment: as for [`SessionRecordings`].
        num_copies: of each session.
        seed: of crops and draws.
    """

    def __init__(
        self, rows: Sequence[Row], crop_samples: int, augment: SessionAugmentation | None, num_copies: int, seed: int
    ):
        check_whole_number("num_copies", num_copies, at_least=1)
        self.crop_samples, self.augment, self.num_copies, self.seed = crop_samples, augment, num_copies, seed
        paths: dict[tuple[str, str], list[str]] = {}
        for row in rows:
            paths.setdefault((row["speaker"], row["session"]), []).append(row["audio"])
        self.sessions = list(paths.items())

    def __len__(self) -> int:
        return len(self.sessions) * self.num_copies

    def __getitem__(self, index: int) -> dict[str, Any]:
        copy, number = divmod(index, len(self.sessions))
        (speaker, session), paths = self.sessions[number]
        seed = int(np.random.SeedSequence([self.seed, index]).generate_state(1, np.uint64)[0]) >> 1
        generator = torch.Generator().manual_seed(seed)
        crops = [read_random_segment(path, self.crop_samples, generator) for path in paths]
        if self.augment is not None:
            crops, session = self.augment(crops, generator), f"{session}, copy {copy}"
        return {"input_values": torch.from_numpy(np.stack(crops)), "session": session, "speaker": speaker}


class StoredSessions(torch.utils.data.Dataset):
    """As [`SessionRecordings`], of stored vectors; samples have `vectors` in place of `input_values`.

    Args:
        vectors: (recordings, size), see [`StoredSessionTraining`].
        session_ids, speaker_ids: (recordings,).
    """

    def __init__(self, vectors: torch.Tensor, session_ids: ArrayLike, speaker_ids: ArrayLike):
        self.vectors, self.table = vectors, SessionTable(session_ids, speaker_ids)

    def __len__(self) -> int:
        return self.table.num_speakers

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        numbers = np.random.default_rng(draw_whole_number(2**62, _make_generator()))
        rows, sessions, speakers = (
            torch.from_numpy(part.copy()) for part in self.table.draw(np.array([index]), numbers)
        )
        return {"vectors": self.vectors[rows], "session_ids": sessions, "speaker_ids": speakers}


def collate_sessions(samples: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """A batch of speakers, the recordings of all behind one another."""
    return {name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}


class SpeakerRecordings(torch.utils.data.Dataset):
    """Speakers of a data set, each as crops of some of the speaker's recordings, drawn anew each time.

    Samples are `input_values` (utterances, crop_samples) and `labels`, the speaker's number. Each crop gets a draw of
    the augmentation of its own.

    Args:
        rows: with "speaker" and "audio".
        crop_samples, augment: as for [`SessionRecordings`].
        utterances: crops of a speaker in a batch.
    """

    def __init__(
        self, rows: Sequence[Row], crop_samples: int, augment: SessionAugmentation | None = None, utterances: int = 1
    ):
        self.names = sorted({row["speaker"] for row in rows})
        paths: dict[str, list[str]] = {name: [] for name in self.names}
        for row in rows:
            paths[row["speaker"]].append(row["audio"])
        self.paths = [paths[name] for name in self.names]
        few = [name for name, own in paths.items() if len(own) < utterances]
        if few:
            raise ValueError(
                f"`rows`: {len(few)} speakers have fewer than {utterances} recordings, the first is {few[0]}."
            )
        self.crop_samples, self.augment, self.utterances = crop_samples, augment, utterances

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        generator, paths = _make_generator(), self.paths[index]
        chosen = torch.randperm(len(paths), generator=generator)[: self.utterances].tolist()
        crops = [read_random_segment(paths[place], self.crop_samples, generator) for place in chosen]
        if self.augment is not None:
            crops = [self.augment([crop], generator)[0] for crop in crops]
        return {"input_values": torch.from_numpy(np.stack(crops)), "labels": torch.tensor(index)}

    def count_visits(self, most_utterances: int) -> list[int]:
        """How often an epoch visits each speaker, if it takes each recording once but at most so many per speaker."""
        return [max(min(len(paths), most_utterances) // self.utterances, 1) for paths in self.paths]


class SpeakerSampler:
    """Order of an epoch in which no batch holds a speaker twice.

    Speakers who have more visits left are taken first; visits that are left when fewer speakers than a batch remain are
    dropped. Drawn from torch's global generator, which the training loop seeds for each epoch.

    Args:
        visits: per speaker. batch_size: over all processes.

    Raises:
        ValueError: fewer speakers than a batch.
    """

    def __init__(self, visits: Sequence[int], batch_size: int):
        if batch_size > len(visits):
            raise ValueError(f"`batch_size` over all processes ({batch_size}) exceeds the {len(visits)} speakers.")
        self.visits, self.batch_size = torch.tensor(visits), batch_size
        self.length = sum(
            1 for _ in self
        )  # the same in every epoch: which speaker goes first among equals is no matter

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        left = self.visits.clone()
        while True:
            order = torch.randperm(len(left))
            order = order[left[order].argsort(descending=True, stable=True)][: self.batch_size]
            if not left[order].all():
                return
            left[order] -= 1
            yield from order[torch.randperm(len(order))].tolist()


def _make_generator() -> torch.Generator:
    """A generator of its own, seeded by a draw from torch's global one."""
    return torch.Generator().manual_seed(int(torch.randint(2**62, ())))


class NetworkWithLoss(nn.Module):
    """A network and what only its training needs, as one module for the training loop; saved is the network alone."""

    def __init__(self, model: nn.Module, loss: nn.Module):
        super().__init__()
        self.model, self.loss = model, loss

    @property
    def config(self) -> Any:
        """The network's."""
        return self.model.config

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """Save the network."""
        self.model.save_pretrained(*args, **kwargs)


class StoredSessionTraining(NetworkWithLoss):
    """Loss of a session network on stored vectors: the encoder's `embeddings`, or `pooled` if its source is that."""

    def __init__(self, model: SessionEmbeddingForXVector):
        super().__init__(model, model.session_loss)

    def forward(
        self, vectors: torch.Tensor, session_ids: torch.Tensor, speaker_ids: torch.Tensor
    ) -> SessionEmbeddingOutput:
        """`vectors` is (recordings, size), the ids are (recordings,)."""
        session_embeddings = self.model.session_head(vectors)
        loss = self.loss(session_embeddings, session_ids, speaker_ids)
        return SessionEmbeddingOutput(loss=loss, session_embeddings=session_embeddings)


class SpeakerTraining(NetworkWithLoss):
    """Loss of a speaker encoder on batches of [`SpeakerRecordings`].

    Args:
        loss: "aam_softmax", an angular margin, or "softmax_prototypical", which takes two utterances of each speaker.
        margin, scale: of the angular margin; voxceleb_trainer's command line has 0.1 and 30.
    """

    def __init__(
        self,
        model: SpeakerEncoderForXVector,
        num_speakers: int,
        loss: Literal["aam_softmax", "softmax_prototypical"] = "aam_softmax",
        margin: float = 0.1,
        scale: float = 30.0,
    ):
        check_choice("loss", loss, ("aam_softmax", "softmax_prototypical"))
        size = model.config.embedding_size
        is_margin = loss == "aam_softmax"
        super().__init__(
            model,
            AAMSoftmaxLoss(size, num_speakers, margin, scale)
            if is_margin
            else SoftmaxPrototypicalLoss(size, num_speakers),
        )

    def forward(self, input_values: torch.Tensor, labels: torch.Tensor) -> SpeakerLossOutput:
        """`input_values` is (speakers, utterances, samples), `labels` (speakers,)."""
        embeddings = self.model(input_values.flatten(0, 1), return_dict=True).embeddings
        if isinstance(self.loss, AAMSoftmaxLoss):
            labels = labels.repeat_interleave(input_values.shape[1])
        else:
            embeddings = embeddings.unflatten(0, input_values.shape[:2])
        return self.loss(embeddings, labels)


__all__ = [
    "NetworkWithLoss",
    "SessionCopies",
    "SessionFit",
    "SessionRecordings",
    "SessionTable",
    "SpeakerRecordings",
    "SpeakerSampler",
    "SpeakerTraining",
    "StoredSessionTraining",
    "StoredSessions",
    "collate_sessions",
    "fit_session_head",
    "make_session_head",
    "session_error_rate",
]
