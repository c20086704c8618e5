"""How the golden cases of session embeddings are computed with this package: one function per kind."""

from collections.abc import Iterator

import numpy as np
import torch
from golden_case import GoldenCase

from avzoo.audio.speaker_mel import speechbrain_mel_db
from avzoo.conversion import convert_checkpoint
from avzoo.data.trial_lists import Trials
from avzoo.metrics import verification
from avzoo.metrics.score_normalization import cohort_statistics, make_unit_rows, normalize_scores
from avzoo.metrics.trial_scoring import cut_crops, score_trials
from avzoo.models.session_embedding import (
    AAMSoftmaxLoss,
    AMSoftmaxLoss,
    AngularPrototypicalLoss,
    EnvironmentTripletLoss,
    GE2ELoss,
    LinearCompensation,
    SessionHead,
    SessionLoss,
    SoftmaxPrototypicalLoss,
    SpeakerEncoderForXVector,
    fit_compensation,
    mean_absolute_correlation,
)
from avzoo.models.session_embedding.compensation import scan_weights
from avzoo.models.session_embedding.loss_speaker import classify

Outputs = dict[str, torch.Tensor]

# Fields of the encoder's config that shapes do not tell, by the name of the authors' argument.
UNTOLD = {"log_input": "use_log", "sinc_stride": "sinc_stride"}


def convert_encoder(case: GoldenCase, folder, **fields) -> Iterator[SpeakerEncoderForXVector]:
    """The case's encoder as converted, then as saved and loaded."""
    fields |= {ours: case.config[theirs] for theirs, ours in UNTOLD.items() if theirs in case.config}
    model = convert_checkpoint("session_embedding", case.checkpoint(), config=fields)
    yield model
    model.save_pretrained(folder)
    yield SpeakerEncoderForXVector.from_pretrained(folder)


@torch.no_grad()
def run_encoder(case: GoldenCase, folder) -> Iterator[Outputs]:
    """Encoders that see one whole recording at a time; a disentangler's embedding is its speaker code."""
    waveforms = case.inputs["waveform"]
    for model in convert_encoder(case, folder):
        statistics: list[torch.Tensor] = []  # before the norm that `pooled` has behind it
        model.pooling.register_forward_hook(lambda module, inputs, output, kept=statistics: kept.append(output))
        output = model(waveforms)
        results = {
            "embedding": output.embeddings,
            "speaker_code": output.embeddings,
            "environment_code": output.environment_codes,
            "pooled": statistics[0],
        }
        if model.config.takes_waveforms:
            hidden_states, _ = model.trunk.encode(case.inputs["features"], None)
            results["embedding_from_features"] = model.embedding(model.pool_frames(hidden_states, None))
        else:
            features, _ = model.features(waveforms, None)
            results["features"] = features.mT if model.config.dialect == "wespeaker" else features
        yield {name: results[name] for name in case.outputs if results.get(name) is not None}


@torch.no_grad()
def run_speechbrain(case: GoldenCase, folder) -> Iterator[Outputs]:
    """A padded batch, as speechbrain computes it and as each recording gives it alone."""
    waveforms, relative_lengths = case.inputs["waveform"], case.inputs["relative_lengths"]
    lengths = (relative_lengths * waveforms.shape[1]).round().long()
    mask = (torch.arange(waveforms.shape[1]) < lengths[:, None]).long()
    dilations = tuple(case.config["dilations"][:-1])  # the last is of the layer that joins the blocks
    for model in convert_encoder(case, folder, dilations=dilations):
        alone = model(waveforms, mask).embeddings
        model.config.mask_padding = False
        results = {
            "fbank": speechbrain_mel_db(waveforms, num_mel_bins=model.config.num_mel_bins),
            "normalized": model.features(waveforms, lengths)[0].mT,
            "embedding": model(waveforms, mask).embeddings[:, None],
            "embedding_alone": alone[:, None],
        }
        model.config.mask_padding = True
        yield results


def run_losses(case: GoldenCase, folder) -> Iterator[Outputs]:
    config, weights, labels = case.config, case.checkpoint(), case.inputs["labels"]
    sizes = (config["embedding_size"], config["num_classes"])
    margins = {"margin": config["margin"], "scale": config["scale"]}
    start = (config["init_w"], config["init_b"])
    losses = {
        "aamsoftmax": AAMSoftmaxLoss(*sizes, **margins, easy_margin=config["easy_margin"]),
        "speechbrain_aam": AAMSoftmaxLoss(*sizes, **margins),
        "amsoftmax": AMSoftmaxLoss(*sizes, **margins),
        "angular_prototypical": AngularPrototypicalLoss(*start),
        "ge2e": GE2ELoss(*start),
        "softmax_prototypical": SoftmaxPrototypicalLoss(*sizes, *start),
    }
    for name in ("aamsoftmax", "speechbrain_aam"):
        losses[name].load_state_dict({"weight": weights["aamsoftmax.weight"]})
    losses["amsoftmax"].load_state_dict({"weight": weights["amsoftmax.W"].T})
    losses["softmax_prototypical"].classifier.load_state_dict(
        {name: weights[f"softmaxproto.softmax.fc.{name}"] for name in ("weight", "bias")}
    )
    results = {}
    for name, loss in losses.items():
        embeddings = case.inputs["embeddings"].clone().requires_grad_()
        if name in ("angular_prototypical", "ge2e"):
            output = loss(embeddings)
        elif name == "softmax_prototypical":
            output = loss(embeddings[:, :2], labels)
        else:
            output = loss(embeddings.flatten(0, 1), labels.repeat_interleave(embeddings.shape[1]))
        output.loss.backward()
        results |= {name: output.loss, f"{name}_accuracy": output.accuracy, f"{name}_gradient": embeddings.grad}
    results["prototypical"] = transposed_prototypical(case.inputs["embeddings"])
    rows = case.inputs["embeddings"].flatten(0, 1)
    results["mean_absolute_pearson"] = mean_absolute_correlation(rows, rows.roll(1, 0))
    prefix = "env_discriminator.classifier."
    discriminator = {name.removeprefix(prefix): value for name, value in case.checkpoint(prefix).items()}
    triplet = EnvironmentTripletLoss(sizes[0], len(discriminator["5.bias"]), config["triplet_margin"]).eval()
    triplet.discriminator.load_state_dict(discriminator)
    results["environment_triplet"] = triplet(complete_triplet(case.inputs["embeddings"]))
    yield {name: results[name].reshape(expected.shape) for name, expected in case.outputs.items()}


def transposed_prototypical(embeddings: torch.Tensor) -> torch.Tensor:
    """The value of the authors' code since `pairwise_distance` reduces the last axis (torch 1.10).

    That axis is the prototypes' here, so their logits are (speakers, size). `PrototypicalLoss` computes what the code
    meant, minus the squared distance of every speaker to every prototype; tests/models holds it against a loop.
    """
    positive, prototypes = embeddings[:, 0, :, None], embeddings[:, 1:].mean(1).T[None]
    distances = torch.nn.functional.pairwise_distance(positive, prototypes)
    return classify(-(distances**2), torch.arange(len(embeddings))).loss


def complete_triplet(embeddings: torch.Tensor) -> torch.Tensor:
    """The first three utterances, (speakers, 3, size); the case takes zeros for a third that is not there."""
    return torch.nn.functional.pad(embeddings, (0, 0, 0, 3))[:, :3]


def run_metrics(case: GoldenCase, folder) -> Iterator[Outputs]:
    scores, labels, pairs = (case.inputs[name].numpy() for name in ("scores", "labels", "pairs"))
    speechbrain_eer = verification.speechbrain_eer(scores, labels)
    wespeaker_eer = verification.wespeaker_eer(scores, labels)
    results = {
        "clova_eer_percent": verification.trainer_eer(scores, labels).value,
        "speechbrain_eer": (speechbrain_eer.value / 100, speechbrain_eer.threshold),
        "wespeaker_eer": (wespeaker_eer.value / 100, wespeaker_eer.threshold),
    }
    for p_target in (0.01, 0.05):
        results |= {
            f"clova_min_dcf_{p_target}": verification.trainer_min_dcf(scores, labels, p_target),
            f"wespeaker_min_dcf_{p_target}": verification.wespeaker_min_dcf(scores, labels, p_target).value,
            f"speechbrain_min_dcf_{p_target}_unnormalised": verification.speechbrain_min_dcf(scores, labels, p_target),
        }
    embeddings, cohort = (case.inputs[name].numpy() for name in ("embeddings", "cohort"))
    unit = make_unit_rows(embeddings, "embeddings")
    results["cosine"] = cosine = (unit[pairs[:, 0]] * unit[pairs[:, 1]]).sum(1)
    for name, top_n in (("wespeaker_snorm", None), ("wespeaker_asnorm", case.config["top_n"])):
        means, stds = cohort_statistics(embeddings, cohort, top_n)
        results |= {f"{name}_mean": means, f"{name}_std": stds, name: normalize_scores(cosine, pairs, means, stds)}
    statistics = cohort_statistics(embeddings, cohort, case.config["top_n"], "speechbrain")
    for method in ("s-norm", "t-norm", "z-norm"):
        name = f"speechbrain_{method.replace('-', '')}_topk"
        results[name] = normalize_scores(cosine, pairs, *statistics, method)
    yield {
        name: torch.as_tensor(results[name], dtype=torch.float64).reshape(expected.shape)
        for name, expected in case.outputs.items()
    }


def run_protocol(case: GoldenCase, folder) -> Iterator[Outputs]:
    crop_samples, results = 160 * case.config["eval_frames"] + 240, {}
    for name in (name for name in case.inputs if name.startswith("audio_")):
        waveform = case.inputs[name].numpy() / 32768
        crops = torch.from_numpy(cut_crops(waveform, crop_samples, case.config["num_eval"]))
        index = name.removeprefix("audio_")
        results |= {
            f"crops_shape_{index}": torch.tensor(crops.shape),
            f"crops_head_{index}": crops[:, :8],
            f"crops_tail_{index}": crops[:, -8:],
            f"crops_sum_{index}": crops.sum(1),
        }
    embeddings = torch.stack([case.inputs["enrol"], case.inputs["test"]])
    for name, protocol in (("score", "crops-distance"), ("mean_cosine", "crops-cosine")):
        results[name] = torch.from_numpy(score_trials(embeddings, [[0, 1]], protocol))
    yield results


def run_session_head(case: GoldenCase, folder) -> Iterator[Outputs]:
    config, speaker_embeddings = case.config, case.inputs["speaker_embeddings"]
    head = SessionHead(
        config["speaker_embedding_size"],
        config["session_hidden_size"],
        config["session_num_layers"],
        config["session_embedding_size"],
        dropout=0.1,
        centers=False,
    ).eval()
    prefix = "session_head."
    head.load_state_dict({name.removeprefix(prefix): value for name, value in case.checkpoint(prefix).items()})
    with torch.no_grad():
        session_embeddings = head(speaker_embeddings)
    speakers, sessions, utterances = speaker_embeddings.shape[:3]
    speaker_ids = torch.arange(speakers).repeat_interleave(sessions * utterances)
    session_ids = torch.arange(speakers * sessions).repeat_interleave(utterances)
    results = {"session_embedding": session_embeddings}
    kinds = {"cosine_all_pairs": "cosine", "cosine_balanced": "cosine-balanced"}
    for name in ("cosine_all_pairs", "cosine_balanced", "margin", "logistic"):
        loss = SessionLoss(kinds.get(name, name))(session_embeddings.flatten(0, 2), session_ids, speaker_ids)
        results[f"loss_{name}"] = loss[None]
    neighbours = [[row, row + 1] for row in range(len(speaker_ids) - 1)]
    similarities = [
        score_trials(embeddings.flatten(0, 2), neighbours, "full")
        for embeddings in (speaker_embeddings, session_embeddings)
    ]
    results |= dict(zip(("speaker_similarity", "session_similarity"), similarities, strict=True))
    for weight in (0.1, 0.25):
        results[f"score_w{weight}"] = LinearCompensation(weight)(*similarities)
    results |= fit_on_development_list(case)
    yield {name: torch.as_tensor(value).to(case.outputs[name].dtype) for name, value in results.items()}


def fit_on_development_list(case: GoldenCase) -> dict[str, np.ndarray]:
    speaker, session, labels = (
        case.inputs[f"dev_{name}"].numpy() for name in ("speaker_similarity", "session_similarity", "labels")
    )
    trials = Trials.from_names("dev", [(f"enrolment-{row}", f"test-{row}") for row in range(len(labels))], labels)
    linear, q_stack = (fit_compensation(trials, speaker, session, kind) for kind in ("linear", "q_stack"))
    numbers = {
        "dev_eer_percent_per_weight": scan_weights(speaker, session, labels),
        "dev_best_weight": [linear.weight],
        "qstack_mean": q_stack.mean,
        "qstack_std": q_stack.std,
        "qstack_coefficients": q_stack.coefficients,
        "qstack_intercept": [q_stack.intercept],
        "qstack_score_first20": q_stack(speaker, session)[:20],
    }
    return {name: np.asarray(values) for name, values in numbers.items()}


RUNNERS = {
    "ecapa_speechbrain": run_speechbrain,
    **dict.fromkeys(
        (
            "ecapa_disentangler",
            "rawnet3",
            "resnetse34l",
            "resnetse34v2",
            "resnetse34v2_disentangler",
            "wespeaker_ecapa",
            "wespeaker_resnet34",
        ),
        run_encoder,
    ),
    "losses": run_losses,
    "metrics": run_metrics,
    "protocol": run_protocol,
    "session_head": run_session_head,
}
