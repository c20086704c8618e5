"""LoCoNet, TalkNet and TalkNCE: the loss by hand, tracks and clips, masks, sound, heads, folders, what is refused."""

import math

import pytest
import torch
from contract.tiny import tiny_model
from contract.tiny.entry import fill_weights
from huggingface_hub.errors import StrictDataclassError

from avzoo import (
    LoCoNetConfig,
    LoCoNetForActiveSpeakerDetection,
    TalkNCELoss,
    TalkNetConfig,
    TalkNetForActiveSpeakerDetection,
    zoo,
)

ROW = zoo.find_row("talknce")
LOCONET, TALKNET = LoCoNetForActiveSpeakerDetection, TalkNetForActiveSpeakerDetection
BOTH = pytest.mark.parametrize("model_class", [LOCONET, TALKNET], ids=["loconet", "talknet"])
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
SAME = {"rtol": 0, "atol": 0}


# --- the loss ---------------------------------------------------------------------------------------------------------

# Two frames: the faces point right and up, both sounds to the right. The third frame does not speak.
VISUAL = torch.tensor([[2.0, 0.0], [0.0, 0.5], [-1.0, 3.0]])
AUDIO = torch.tensor([[1.0, 0.0], [4.0, 0.0], [0.0, -2.0]])
SPEAKING = torch.tensor([1, 1, 0])
PICTURE_PICKS_SOUND = math.log(2)  # both sounds are equally near to each face
SOUND_PICKS_PICTURE = math.log(math.e + 1) - 0.5  # the first has its own at e : 1, the second at 1 : e


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ("visual_to_audio", PICTURE_PICKS_SOUND),
        ("audio_to_visual", SOUND_PICKS_PICTURE),
        ("both", (PICTURE_PICKS_SOUND + SOUND_PICKS_PICTURE) / 2),
    ],
)
def test_the_loss_by_hand(direction, expected):
    loss = TalkNCELoss(temperature=1.0, direction=direction)(AUDIO, VISUAL, SPEAKING)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_the_temperature_divides_similarities():
    loss = TalkNCELoss(temperature=0.5)(VISUAL[:2], VISUAL[:2], SPEAKING[:2])  # each is its own best, at e^2 : 1
    assert loss.item() == pytest.approx(math.log(math.exp(2) + 1) - 2, abs=1e-6)


def test_all_frames_are_compared_if_wanted():
    audio, visual = torch.eye(3), torch.eye(3)
    expected = math.log(math.e + 2) - 1  # against two others
    assert TalkNCELoss(1.0, "all")(audio, visual, SPEAKING).item() == pytest.approx(expected, abs=1e-6)
    assert TalkNCELoss(1.0)(audio, visual, SPEAKING).item() == pytest.approx(math.log(math.e + 1) - 1, abs=1e-6)


@pytest.mark.parametrize("direction", ["visual_to_audio", "audio_to_visual", "both"])
@pytest.mark.parametrize("speaking", [[0, 0, 0], [0, 1, 0]])
def test_less_than_two_speaking_frames_teach_nothing(direction, speaking):
    audio, visual = AUDIO.clone().requires_grad_(), VISUAL.clone().requires_grad_()
    loss = TalkNCELoss(direction=direction)(audio, visual, torch.tensor(speaking))
    loss.backward()
    assert loss.item() == 0
    torch.testing.assert_close(audio.grad, torch.zeros(3, 2), rtol=0, atol=1e-6)
    torch.testing.assert_close(visual.grad, torch.zeros(3, 2), rtol=0, atol=1e-6)


def test_the_mean_is_over_clips_that_speak():
    """A clip with one such frame counts as 0, one without does not count, and one that is too short is left out."""
    clips = (AUDIO.expand(4, -1, -1), VISUAL.expand(4, -1, -1))
    speaking = torch.tensor([[1, 1, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]])
    assert TalkNCELoss(1.0)(*clips, speaking).item() == pytest.approx(PICTURE_PICKS_SOUND / 2, abs=1e-6)
    assert TalkNCELoss(1.0, min_frames=2)(*clips, speaking).item() == pytest.approx(PICTURE_PICKS_SOUND, abs=1e-6)
    assert TalkNCELoss(1.0, min_frames=3)(*clips, speaking).item() == 0


@pytest.mark.parametrize("nce_frames", ["speaking", "all"])
def test_clips_of_a_batch_are_not_compared_and_padding_does_not_count(nce_frames):
    generator = torch.Generator().manual_seed(0)
    audio, visual = torch.randn(2, 2, 6, 4, generator=generator)
    speaking = torch.tensor([[1, 0, 1, 1, 1, 1], [0, 1, 1, 0, 0, 1]])
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1] * 6])
    loss = TalkNCELoss(nce_frames=nce_frames)
    alone = [loss(audio[0, :4], visual[0, :4], speaking[0, :4]), loss(audio[1], visual[1], speaking[1])]
    torch.testing.assert_close(loss(audio, visual, speaking, mask), sum(alone) / 2)
    torch.testing.assert_close(loss(audio[0], visual[0], speaking[0], mask[0]), alone[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_embeddings_are_compared_in_float32(dtype):
    audio, visual = (values.to(dtype).requires_grad_() for values in (AUDIO, VISUAL))
    loss = TalkNCELoss(0.01)(audio, visual, SPEAKING)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log(2), abs=1e-6)
    assert visual.grad.isfinite().all()


def test_autocast_does_not_coarsen_the_comparison():
    draw = torch.Generator().manual_seed(0)
    audio, visual = (torch.randn(1, 30, 16, generator=draw) for _ in range(2))
    speaking = torch.ones(1, 30)
    expected = TalkNCELoss()(audio, visual, speaking)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(TalkNCELoss()(audio, visual, speaking), expected, **SAME)


@pytest.mark.parametrize(
    ("audio", "visual", "speaking", "mask"),
    [
        ((3, 2), (3, 4), (3,), None),
        ((1, 3, 2), (1, 4, 2), (1, 3), None),
        ((1, 3, 2), (1, 3, 2), (1, 4), None),
        ((1, 3, 2), (1, 3, 2), (3,), None),
        ((1, 3, 2), (1, 3, 2), (1, 3), (1, 2)),
        ((3, 2), (3, 2), (3,), (2,)),
    ],
)
def test_shapes_that_do_not_fit_a_loss_are_told(audio, visual, speaking, mask):
    shapes = [torch.ones(shape) for shape in (audio, visual, speaking)]
    with pytest.raises(ValueError, match=r"must both be \(clips, frames, size\), `speaking` and .*got \("):
        TalkNCELoss()(*shapes, None if mask is None else torch.ones(mask))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "`temperature` must be above 0, got 0.0"),
        ({"temperature": float("nan")}, "`temperature` must be above 0, got nan"),
        ({"nce_frames": "silent"}, "`nce_frames` must be one of speaking, all, got 'silent'"),
        ({"direction": "up"}, "`direction` must be .* got 'up'"),
        ({"min_frames": 0}, "`min_frames` must be at least 1, got 0"),
    ],
)
def test_loss_settings_that_cannot_work_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        TalkNCELoss(**settings)


# --- networks ---------------------------------------------------------------------------------------------------------


def network(model_class=LOCONET, **fields):
    model = tiny_model(ROW, model_class, **{"num_speakers": 3, "num_context_layers": 2, **fields})
    fill_weights(model)
    return model


def clip(frames: int, tracks: int = 3, bins: int = 16, seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {
        "pixel_values": torch.randint(256, (1, tracks, frames, 32, 32), dtype=torch.uint8, generator=draw),
        "input_features": torch.randn(1, 4 * frames, bins, generator=draw),
    }


def clip_for(model, frames: int, seed: int = 0) -> dict[str, torch.Tensor]:
    return clip(frames, 3, model.num_bins, seed)


def labels_for(frames: int, seed: int = 0, tracks: int = 3) -> torch.Tensor:
    return torch.randint(2, (1, tracks, frames), generator=torch.Generator().manual_seed(seed))


def padded(clips: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """One batch; what stands behind the end of a clip would be noticed."""
    lengths = [item["pixel_values"].shape[2] for item in clips]
    missing = [max(lengths) - length for length in lengths]
    pad = torch.nn.functional.pad
    batch = {
        "pixel_values": [
            pad(item["pixel_values"], (0, 0, 0, 0, 0, n), value=200) for item, n in zip(clips, missing, strict=True)
        ],
        "input_features": [
            pad(item["input_features"], (0, 0, 0, 4 * n), value=-9.0) for item, n in zip(clips, missing, strict=True)
        ],
    }
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return {name: torch.cat(values) for name, values in batch.items()} | {"attention_mask": mask.long()}


PER_FRAME = (
    "logits",
    "logits_audio",
    "logits_visual",
    "audio_embeddings",
    "visual_embeddings",
    "audio_hidden_state",
    "visual_hidden_state",
    "last_hidden_state",
)


@torch.no_grad()
@BOTH
@pytest.mark.parametrize("join", [True, False])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_clip_in_a_padded_batch_gets_what_it_gets_alone(model_class, join, attention):
    """Whatever its length; tracks that are laid end to end are those of one clip."""
    model = network(model_class, join_tracks=join)
    model.set_attn_implementation(attention)
    lengths = (7, 1, 10, 2, 4)
    clips = [clip_for(model, frames, seed=frames) for frames in lengths]
    batched = model(**padded(clips))
    for index, (item, length) in enumerate(zip(clips, lengths, strict=True)):
        alone = model(**item)
        for name in PER_FRAME:
            torch.testing.assert_close(batched[name][index : index + 1, :, :length], alone[name], **CLOSE)


@torch.no_grad()
@BOTH
def test_clips_of_one_length_do_not_see_each_other(model_class):
    model = network(model_class, join_tracks=True)
    first, second = clip_for(model, 6, 1), clip_for(model, 6, 2)
    together = model(**{name: torch.cat([first[name], second[name]]) for name in first}).logits
    torch.testing.assert_close(together, torch.cat([model(**first).logits, model(**second).logits]), **CLOSE)
    assert (together[0] - together[1]).abs().max() > 0.01


@torch.no_grad()
def test_joined_tracks_differ_in_two_frames_at_each_side_of_a_junction():
    visual, pixels = network().visual, clip(8)["pixel_values"]
    joined, apart = visual.compute_joined_features(pixels)[0], visual.compute_frame_features(pixels[0])
    moved = (joined - apart).abs().amax(-1) > 1e-4
    assert moved.tolist() == [
        [False] * 6 + [True] * 2,
        [True] * 2 + [False] * 4 + [True] * 2,
        [True] * 2 + [False] * 6,
    ]


@torch.no_grad()
def test_tracks_of_one_frame_see_two_neighbours_when_joined():
    visual, pixels = network().visual, clip(1, tracks=4)["pixel_values"]
    as_one_track = visual.compute_frame_features(pixels[:, :, 0])
    torch.testing.assert_close(visual.compute_joined_features(pixels)[:, :, 0], as_one_track, **CLOSE)


@torch.no_grad()
@BOTH
def test_join_tracks_is_felt_and_one_track_has_no_neighbour(model_class):
    joined, apart = (network(model_class, join_tracks=join, num_speakers=2) for join in (True, False))
    two = clip(6, 2, joined.num_bins)
    assert (joined(**two).logits - apart(**two).logits).abs().max() > 1e-3
    joined, apart = (network(model_class, join_tracks=join, num_speakers=1) for join in (True, False))
    one = clip(6, 1, joined.num_bins)
    torch.testing.assert_close(joined(**one).logits, apart(**one).logits, **SAME)


@torch.no_grad()
def test_the_scores_of_a_track_stand_in_its_place():
    """TalkNet takes tracks one by one, so their order is that of the scores; LoCoNet knows them by their place."""
    order = [2, 0, 1]
    model = network(TALKNET)
    inputs = clip_for(model, 6)
    moved = inputs | {"pixel_values": inputs["pixel_values"][:, order]}
    torch.testing.assert_close(model(**moved).logits, model(**inputs).logits[:, order], **CLOSE)
    model = network(join_tracks=False)
    inputs = clip_for(model, 6)
    moved = inputs | {"pixel_values": inputs["pixel_values"][:, order]}
    assert (model(**moved).logits - model(**inputs).logits[:, order]).abs().max() > 1e-3


@torch.no_grad()
def test_what_another_face_does_matters_to_loconet_alone():
    for model, matters in ((network(join_tracks=False), True), (network(TALKNET), False)):
        inputs = clip_for(model, 6)
        other = inputs["pixel_values"].clone()
        other[:, 2] = 0  # that face is missing now
        change = (model(**inputs | {"pixel_values": other}).logits - model(**inputs).logits)[:, :2].abs().max()
        assert (change > 1e-3) == matters


@torch.no_grad()
def test_tracks_one_by_one_are_clips_of_one_track():
    model, labels = network(TALKNET), labels_for(6, tracks=1)
    inputs = clip(6, 1, model.num_bins)
    faces = torch.ones(1, 1, 6)
    faces[..., 2] = 0
    with_tracks = model(**inputs, labels=labels, face_mask=faces)
    single = inputs | {"pixel_values": inputs["pixel_values"][:, 0]}
    without = model(**single, labels=labels[:, 0], face_mask=faces[:, 0])
    assert without.logits.shape == (1, 6, 2)
    for name in PER_FRAME:
        torch.testing.assert_close(without[name], with_tracks[name][:, 0], **SAME)
    torch.testing.assert_close(without.loss, with_tracks.loss, **SAME)


@torch.no_grad()
@BOTH
def test_pixels_may_be_floating_point_too(model_class):
    model = network(model_class)
    inputs = clip_for(model, 4)
    floats = inputs | {"pixel_values": inputs["pixel_values"].float()}
    torch.testing.assert_close(model(**floats).logits, model(**inputs).logits, **SAME)


# --- sound ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
@BOTH
def test_tracks_may_have_a_sound_each(model_class):
    model = network(model_class)
    inputs = clip_for(model, 5)
    shared = inputs["input_features"]
    each = inputs | {"input_features": shared[:, None].expand(-1, 3, -1, -1)}
    torch.testing.assert_close(model(**each).logits, model(**inputs).logits, **CLOSE)
    one = inputs | {"input_features": shared[:, None]}
    torch.testing.assert_close(model(**one).logits, model(**inputs).logits, **SAME)
    other = each["input_features"].clone()
    other[:, 1] += 1
    change = (model(**each | {"input_features": other}).logits - model(**inputs).logits).abs().amax((0, 2, 3))
    assert change[1] > 1e-3
    if model_class is TALKNET:
        assert change[0] < 1e-5


@torch.no_grad()
def test_four_or_eight_rows_of_silence_follow_the_sound():
    """8 rows get 8 more, and so do 12 rows 4: what is heard in the first two frames is then the same."""
    model = network()
    rows = clip(2)["input_features"]

    def heard(extra: int) -> torch.Tensor:
        return model.embed_audio(torch.nn.functional.pad(rows, (0, 0, 0, extra)))[0, 0]

    assert heard(0).shape == (2, 8)
    torch.testing.assert_close(heard(4)[:2], heard(0), **CLOSE)
    assert (heard(8)[:2] - heard(0)).abs().max() > 1e-4  # 16 rows get 8 more as well, which makes 24


@torch.no_grad()
def test_the_appended_rows_are_heard_in_the_last_frames_alone():
    model = network()
    rows = clip(24)["input_features"]
    cut = model.embed_audio(rows[:, :64])[0, 0]  # 16 frames, and 8 rows of silence
    whole = model.embed_audio(rows)[0, 0, :16]
    change = (cut - whole).abs().amax(-1)
    assert change[-1] > 1e-2
    assert change[:6].max() < 1e-5


@torch.no_grad()
def test_the_log_mel_is_normalized_before_silence_is_appended():
    """So what is appended is 0, at whatever level the sound is."""
    raw, normalized = network(), network(log_mel_mean=3.0, log_mel_std=2.0)
    normalized.load_state_dict(raw.state_dict())
    short, long = (clip(frames)["input_features"] for frames in (5, 9))
    for rows in (short, long):
        torch.testing.assert_close(normalized.embed_audio(2 * rows + 3), raw.embed_audio(rows), **CLOSE)
    batch = [clip(5), clip(9)]
    for item in batch:
        item["input_features"] = 2 * item["input_features"] + 3
    batched = normalized(**padded(batch)).audio_embeddings[0, :, :5]
    torch.testing.assert_close(batched, normalized(**batch[0]).audio_embeddings[0], **CLOSE)


# --- attention --------------------------------------------------------------------------------------------------------


@torch.no_grad()
@BOTH
def test_who_asks_in_the_cross_attention_matters(model_class):
    other, own = (network(model_class, cross_attention_query=query) for query in ("other", "own"))
    inputs = clip_for(other, 6)
    outputs = [model(**inputs) for model in (other, own)]
    torch.testing.assert_close(outputs[0].visual_embeddings, outputs[1].visual_embeddings, **SAME)
    for name in ("audio_hidden_state", "visual_hidden_state", "logits"):
        assert (outputs[0][name] - outputs[1][name]).abs().max() > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("query", ["other", "own"])
def test_cross_attention_is_that_of_torch(query):
    model = network(cross_attention_query=query)
    output = model(**clip(6))
    layer, audio = model.cross_audio, output.audio_embeddings[0].expand(3, -1, -1)
    visual = output.visual_embeddings[0]
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    for kind in ("weight", "bias"):
        stacked = torch.cat([getattr(getattr(layer.attention, f"{part}_proj"), kind) for part in "qkv"])
        getattr(theirs, f"in_proj_{kind}").copy_(stacked)
        getattr(theirs.out_proj, kind).copy_(getattr(layer.attention.o_proj, kind))
    query_states, key_value = (visual, audio) if query == "other" else (audio, visual)
    hidden_states = layer.norm1(audio + theirs(query_states, key_value, key_value)[0])
    hidden_states = layer.norm2(hidden_states + layer.linear2(layer.linear1(hidden_states).relu()))
    torch.testing.assert_close(output.audio_hidden_state[0], hidden_states, **CLOSE)


# --- losses -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
@BOTH
def test_there_is_no_loss_without_labels(model_class):
    model = network(model_class)
    output = model(**clip_for(model, 4))
    assert not [name for name in output if name.startswith("loss")]
    assert output.loss is None


@torch.no_grad()
@BOTH
def test_the_loss_is_the_weighted_sum_of_its_parts(model_class):
    model = network(model_class, talknce_weight=0.3)
    labels = labels_for(9)
    output = model(**clip_for(model, 9), labels=labels)
    expected = output.loss_av + 0.4 * (output.loss_audio + output.loss_visual) + 0.3 * output.loss_nce
    torch.testing.assert_close(output.loss, expected)
    for part, logits in (("loss_av", "logits"), ("loss_audio", "logits_audio"), ("loss_visual", "logits_visual")):
        expected = torch.nn.functional.cross_entropy(output[logits].flatten(0, 2), labels.flatten())
        torch.testing.assert_close(output[part], expected)
    nce = TalkNCELoss()(output.audio_embeddings[:, 0], output.visual_embeddings[:, 0], labels[:, 0])
    torch.testing.assert_close(output.loss_nce, nce)
    assert nce > 0


@torch.no_grad()
def test_talknet_has_no_contrastive_loss_unless_asked_for():
    model = network(TALKNET)
    output = model(**clip_for(model, 5), labels=labels_for(5))
    assert output.loss_nce is None
    torch.testing.assert_close(output.loss, output.loss_av + 0.4 * (output.loss_audio + output.loss_visual))


@torch.no_grad()
def test_the_settings_of_the_loss_come_from_the_config():
    fields = {"talknce_temperature": 0.5, "nce_frames": "all", "nce_direction": "both"}
    model, labels = network(**fields), labels_for(5)
    output = model(**clip(5), labels=labels)
    expected = TalkNCELoss(0.5, "all", "both")(
        output.audio_embeddings[:, 0], output.visual_embeddings[:, 0], labels[:, 0]
    )
    torch.testing.assert_close(output.loss_nce, expected)


@torch.no_grad()
@BOTH
def test_a_missing_face_changes_losses_and_no_score(model_class):
    """Whatever its label says, in the contrastive loss as well."""
    model = network(model_class, talknce_weight=0.3)
    inputs, labels = clip_for(model, 8), labels_for(8)
    faces = torch.ones(1, 3, 8, dtype=torch.long)
    faces[0, 0, 2], faces[0, 1, 4:] = 0, 0
    masked, plain = model(**inputs, labels=labels, face_mask=faces), model(**inputs, labels=labels)
    for name in PER_FRAME:
        torch.testing.assert_close(masked[name], plain[name], **SAME)
    there = faces.bool()
    for part, logits in (("loss_av", "logits"), ("loss_audio", "logits_audio"), ("loss_visual", "logits_visual")):
        expected = torch.nn.functional.cross_entropy(plain[logits][there], labels[there])
        torch.testing.assert_close(masked[part], expected)
    otherwise = model(**inputs, labels=torch.where(there, labels, 1 - labels), face_mask=faces)
    for part in ("loss_av", "loss_audio", "loss_visual", "loss_nce", "loss"):
        torch.testing.assert_close(otherwise[part], masked[part], **SAME)
    nothing = model(**inputs, labels=labels, face_mask=torch.zeros_like(faces))
    assert nothing.loss == 0


@torch.no_grad()
@BOTH
def test_losses_are_means_over_frames_and_padding_does_not_count(model_class):
    model = network(model_class, talknce_weight=0.3)
    lengths = (3, 8)
    clips = [clip_for(model, frames, seed=frames) for frames in lengths]
    labels = [labels_for(frames, seed=frames) for frames in lengths]
    batch_labels = torch.cat([torch.nn.functional.pad(labels[0], (0, 5), value=1), labels[1]])
    batched = model(**padded(clips), labels=batch_labels)
    alone = [model(**item, labels=label) for item, label in zip(clips, labels, strict=True)]
    for part in ("loss_av", "loss_audio", "loss_visual"):
        expected = sum(output[part] * length for output, length in zip(alone, lengths, strict=True)) / sum(lengths)
        torch.testing.assert_close(batched[part], expected, **CLOSE)
    torch.testing.assert_close(batched.loss_nce, (alone[0].loss_nce + alone[1].loss_nce) / 2, **CLOSE)


# --- what is refused --------------------------------------------------------------------------------------------------


@BOTH
def test_frames_labelled_as_not_counting_are_left_out_as_missing_faces_are(model_class):
    model = network(model_class, talknce_weight=0.3)
    inputs, labels = clip_for(model, 8), labels_for(8)
    faces = torch.ones_like(labels)
    faces[:, :, 2:5] = 0
    ignored = model(**inputs, labels=labels.masked_fill(faces == 0, -100))
    torch.testing.assert_close(ignored.loss, model(**inputs, labels=labels, face_mask=faces).loss)
    assert not torch.isclose(ignored.loss, model(**inputs, labels=labels).loss)


def test_labels_that_are_no_classes_are_named():
    model, inputs, labels = network(), clip(4), labels_for(4)
    with pytest.raises(TypeError, match=r"`labels` must be whole numbers.*torch.float32"):
        model(**inputs, labels=labels.float())
    with pytest.raises(ValueError, match=r"`labels` must be class indices in \[0, 2\), or -100, got 2"):
        model(**inputs, labels=labels + 1)


@pytest.mark.parametrize("config_class", [LoCoNetConfig, TalkNetConfig])
def test_a_face_has_two_classes(config_class):
    with pytest.raises(StrictDataclassError, match=r"`num_labels` must be 2, a face that is silent or speaks; got 3"):
        config_class(num_labels=3)


def changed(**tensors) -> dict[str, torch.Tensor]:
    return clip(4) | tensors


REFUSED = {
    "too few speakers": (
        changed(pixel_values=torch.zeros(1, 2, 4, 32, 32)),
        r"`num_speakers` \(3\) tracks in a clip, got 2\. The processor fills up",
    ),
    "one track, without its dimension": (changed(pixel_values=torch.zeros(1, 4, 32, 32)), r"`num_speakers` .* got 1"),
    "no frame": (changed(pixel_values=torch.zeros(1, 3, 0, 32, 32)), r"at least one of each, got \(1, 3, 0, 32, 32\)"),
    "large pictures": (
        changed(pixel_values=torch.zeros(1, 3, 4, 33, 32)),
        r"`pixel_values` must be \(clips, tracks, frames, 32, 32\) .*, got \(1, 3, 4, 33, 32\)",
    ),
    "no picture": (changed(pixel_values=torch.zeros(4, 32, 32)), r"`pixel_values` must be .* got \(4, 32, 32\)"),
    "too few rows": (
        changed(input_features=torch.zeros(1, 15, 16)),
        r"`input_features` must be \(1, 16, 16\) or \(1, 1, 16, 16\) or \(1, 3, 16, 16\), 4 rows for each of the "
        r"4 frames, got \(1, 15, 16\)",
    ),
    "another height": (changed(input_features=torch.zeros(1, 16, 13)), r"`input_features` must be .*\(1, 16, 13\)"),
    "sounds of another count": (
        changed(input_features=torch.zeros(1, 2, 16, 16)),
        r"`input_features` must be .*\(1, 2, 16, 16\)",
    ),
    "labels of one track": (changed(labels=torch.zeros(1, 4)), r"`labels` must be \(1, 3, 4\), got \(1, 4\)"),
    "a face mask of another length": (
        changed(face_mask=torch.ones(1, 3, 5)),
        r"`face_mask` must be \(1, 3, 4\), got \(1, 3, 5\)",
    ),
    "a mask per track": (
        changed(attention_mask=torch.ones(1, 3, 4)),
        r"`attention_mask` must be \(1, 4\), got \(1, 3, 4\)",
    ),
    "a mask with a hole": (changed(attention_mask=torch.tensor([[1, 0, 1, 0]])), r"`attention_mask` .* a 1 follows"),
    "a mask that begins with padding": (changed(attention_mask=torch.tensor([[0, 1, 1, 1]])), "`attention_mask`"),
    "a clip of padding": (changed(attention_mask=torch.tensor([[0, 0, 0, 0]])), r"`attention_mask` .* no frame"),
}


@pytest.fixture(scope="module")
def loconet():
    return network()


@pytest.mark.parametrize("name", REFUSED)
def test_inputs_that_do_not_fit_are_named(loconet, name):
    inputs, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        loconet(**inputs)


def test_talknet_names_what_it_takes():
    with pytest.raises(ValueError, match=r"`input_features` must be \(1, 16, 16\) or \(1, 1, 16, 16\), 4 rows"):
        network(TALKNET)(torch.zeros(1, 4, 32, 32), torch.zeros(1, 16, 13))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"audio_channels": (4, 4, 4, 4)}, r"`audio_channels` \(4, 4, 4, 4\) must end with `embedding_size` \(8\)"),
        ({"audio_channels": (6, 8, 8, 8)}, r"`audio_channels` \(6, 8, 8, 8\) must be multiples of `squeeze_ratio`"),
        ({"audio_depths": (1, 1, 1, 0)}, r"`audio_depths` must be four numbers of at least 1"),
        ({"squeeze_ratio": 0}, r"`squeeze_ratio` must be at least 1"),
        ({"num_cepstral_coefficients": 0}, r"`num_cepstral_coefficients` must be at least 1"),
    ],
)
def test_talknet_settings_that_cannot_work_are_named(fields, message):
    with pytest.raises(Exception, match=message):
        network(TALKNET, **fields)
