"""S3FD's pieces by hand: priors, boxes, matching, loss, and the detector around the network."""

import cv2
import numpy as np
import pytest
import torch
from contract.tiny import tiny_model
from safetensors.torch import load_file, save_file

from avzoo import S3FDConfig, S3FDDetector, zoo
from avzoo.models.s3fd.loss import encode_boxes, face_detection_loss, intersection_over_union, match_priors
from avzoo.models.s3fd.modeling_s3fd import S3FDNorm, S3FDOutput, decode_boxes, make_priors
from avzoo.video import detect_faces

VARIANCES = (0.1, 0.2)


@pytest.fixture
def model():
    return tiny_model(zoo.find_row("s3fd"))


# --- the network ------------------------------------------------------------------------------------------------------


def test_priors_are_squares_around_the_places_of_each_level():
    grids = [(2, 3), (1, 1), (1, 1), (1, 1), (1, 1), (1, 1)]
    priors = make_priors(S3FDConfig(), (100, 200), grids)
    assert priors.shape == (11, 4)
    pixels = priors * torch.tensor([200, 100, 200, 100])
    assert pixels[:6, :2].tolist() == [[2, 2], [6, 2], [10, 2], [2, 6], [6, 6], [10, 6]]
    torch.testing.assert_close(pixels[:, 2], torch.tensor([16.0] * 6 + [32, 64, 128, 256, 512]))
    torch.testing.assert_close(pixels[:, 2], pixels[:, 3])
    torch.testing.assert_close(pixels[-1, :2], torch.tensor([64.0, 64]))


def test_boxes_are_decoded_from_offsets():
    prior = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
    assert decode_boxes(torch.zeros(1, 4), prior, VARIANCES).tolist() == [pytest.approx([0.4, 0.3, 0.6, 0.7])]
    moved = decode_boxes(torch.tensor([[1.0, -1, 0, 5 * np.log(2)]]), prior, VARIANCES)
    assert moved.tolist() == [pytest.approx([0.42, 0.06, 0.62, 0.86])]


def test_encoding_undoes_decoding():
    generator = torch.Generator().manual_seed(0)
    priors = torch.rand(20, 4, generator=generator) + 0.1
    offsets = torch.randn(20, 4, generator=generator)
    boxes = decode_boxes(offsets, priors, VARIANCES)
    torch.testing.assert_close(encode_boxes(boxes, priors, VARIANCES), offsets, rtol=1e-4, atol=1e-4)


def test_norms_bring_features_to_one_length_even_in_half_precision():
    norm = S3FDNorm(4, 10.0, 1e-10)
    features = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0)) * 1e3
    torch.testing.assert_close(norm(features).norm(dim=1), torch.full((2, 3, 5), 10.0))
    half = norm.half()(features.half())
    torch.testing.assert_close(half.float().norm(dim=1), torch.full((2, 3, 5), 10.0), rtol=1e-2, atol=1e-2)
    assert not norm(torch.zeros(1, 4, 1, 1, dtype=torch.half)).any()


@torch.no_grad()
@pytest.mark.parametrize("size", [(28, 28), (31, 57), (64, 72), (101, 33)])
def test_every_prior_has_a_score_and_a_box(model, size):
    outputs = model(torch.rand(2, 3, *size) * 255)
    count = len(outputs.priors)
    assert outputs.logits.shape == (2, count, 2)
    assert outputs.boxes.shape == outputs.box_offsets.shape == (2, count, 4)
    torch.testing.assert_close(outputs.scores, outputs.logits.softmax(-1)[..., 1])
    torch.testing.assert_close(outputs.boxes, decode_boxes(outputs.box_offsets, outputs.priors, VARIANCES))


@torch.no_grad()
def test_the_strongest_of_the_background_scores_counts(model):
    pixels = torch.rand(1, 3, 64, 72) * 255
    head = model.score_heads[0]
    before = model(pixels).logits
    head.weight[1] = 0
    head.bias[1] = 1e4
    after = model(pixels).logits
    finest = 16 * 18
    assert (after[0, :finest, 0] == 1e4).all()
    assert torch.equal(after[0, :finest, 1], before[0, :finest, 1])
    assert torch.equal(after[0, finest:], before[0, finest:])


@torch.no_grad()
def test_whole_numbers_are_pixels_too(model):
    pixels = torch.randint(0, 256, (1, 3, 40, 40), dtype=torch.uint8)
    assert torch.equal(model(pixels).logits, model(pixels.float()).logits)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 64, 64), r"must be \(batch, 3, height, width\), RGB of 0\.\.255, got \(3, 64, 64\)"),
        ((1, 64, 64, 3), r"got \(1, 64, 64, 3\)"),
        ((0, 3, 64, 64), r"got \(0, 3, 64, 64\)"),
        ((1, 3, 27, 64), r"at least 28 pixels on both sides, got \(27, 64\)"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(model, shape, message):
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(shape))


# --- the loss ---------------------------------------------------------------------------------------------------------


def centred(*boxes):
    """Corners to centre and sides."""
    boxes = torch.tensor(boxes)
    return torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], dim=1)


def test_overlap_is_intersection_over_union():
    boxes = torch.tensor([[0.0, 0, 2, 2]])
    others = torch.tensor([[0.0, 0, 2, 2], [1, 1, 3, 3], [0, 0, 1, 2], [2, 2, 3, 3]])
    torch.testing.assert_close(intersection_over_union(boxes, others), torch.tensor([[1, 1 / 7, 1 / 2, 0]]))


def test_a_prior_takes_the_face_it_overlaps_most():
    priors = centred([0.0, 0, 0.4, 0.4], [0.1, 0, 0.5, 0.4], [0.5, 0.5, 0.9, 0.9], [0.9, 0, 1.0, 0.1])
    faces = torch.tensor([[0.0, 0, 0.4, 0.4], [0.55, 0.5, 0.9, 0.9]])
    assert match_priors(faces, priors).tolist() == [0, 0, 1, -1]


def test_a_face_without_a_good_prior_gets_its_best_and_more():
    near = [[0.0 + shift, 0, 0.4 + shift, 0.4] for shift in (0.0, 0.02, 0.04, 0.06)]
    far = [[0.6 + shift, 0.6, 0.7 + shift, 0.7] for shift in (0.0, 0.01, 0.2)]
    priors = centred(*near, *far)
    faces = torch.tensor([[0.0, 0, 0.4, 0.4], [0.58, 0.58, 0.78, 0.78]])  # the second overlaps its priors by 0.25
    assert match_priors(faces, priors).tolist() == [0, 0, 0, 0, 1, 1, -1]


def test_no_face_matches_no_prior():
    assert match_priors(torch.zeros(0, 4), centred([0.0, 0, 1, 1])).tolist() == [-1]


def test_the_loss_is_the_sum_worked_out_by_hand():
    # One face on the first prior; of the others the three that look most like a face count.
    priors = centred([0.0, 0, 0.4, 0.4], *[[0.5, 0.5, 0.9, 0.9]] * 5)
    logits = torch.tensor([[[0.0, 1], [0, 3], [0, 2], [0, -5], [0, 0], [0, -6]]])
    offsets = torch.zeros(1, 6, 4)
    offsets[0, 0] = torch.tensor([0.5, 0, 0, 2.0])  # smooth L1: 0.125 + 1.5
    face = [torch.tensor([[0.0, 0, 0.4, 0.4]])]
    crosses = [np.log1p(np.exp(-1)), np.log1p(np.exp(3)), np.log1p(np.exp(2)), np.log(2)]
    loss = face_detection_loss(logits, offsets, priors, face, VARIANCES)
    assert loss.item() == pytest.approx(4 * np.mean(crosses) + 1.625, rel=1e-5)


def test_pictures_without_faces_have_a_loss_too():
    priors = centred([0.0, 0, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9])
    loss = face_detection_loss(torch.zeros(1, 2, 2), torch.zeros(1, 2, 4), priors, [torch.zeros(0, 4)], VARIANCES)
    assert loss.item() == pytest.approx(4 * np.log(2))


def test_invalid_labels_are_refused(model):
    pixels = torch.rand(2, 3, 64, 64)
    with pytest.raises(ValueError, match=r"`labels` must have one tensor of boxes per image \(2\), got 1"):
        model(pixels, labels=[torch.zeros(0, 4)])
    with pytest.raises(ValueError, match=r"`labels` must be \(faces, 4\) boxes x1 < x2, y1 < y2"):
        model(pixels, labels=[torch.zeros(0, 4), torch.tensor([[0.5, 0.5, 0.2, 0.9]])])


# --- the detector -----------------------------------------------------------------------------------------------------


class FakeNetwork(torch.nn.Module):
    """Says of every picture what it was told, and keeps what it was shown."""

    device = torch.device("cpu")

    def __init__(self, boxes, scores):
        super().__init__()
        self.boxes, self.scores, self.seen = torch.tensor(boxes), torch.tensor(scores), []

    def forward(self, pixel_values, return_dict=True):
        self.seen.append(pixel_values)
        count = len(pixel_values)
        return S3FDOutput(boxes=self.boxes.expand(count, -1, 4), scores=self.scores.expand(count, -1))


def frames(count=3, height=120, width=160):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_boxes_come_in_pixels_of_the_frame_best_first():
    network = FakeNetwork([[0.0, 0.1, 0.25, 0.5], [0.5, 0.5, 0.75, 1.0], [0.9, 0.9, 1, 1]], [0.95, 0.99, 0.9])
    found = S3FDDetector(network, scale=0.5)(frames())
    assert len(found) == 3
    for detections in found:
        np.testing.assert_allclose(detections.boxes, [[80, 60, 120, 120], [0, 12, 40, 60]], rtol=1e-6)
        np.testing.assert_allclose(detections.scores, [0.99, 0.95], rtol=1e-6)  # 0.9 itself is not above 0.9


def test_the_second_suppression_sees_only_what_the_first_has_left():
    # The middle box hides the right one in the network (0.33 > 0.3), then falls to the left one (0.25 > 0.1): what it
    # had hidden stays hidden.
    boxes = [[0.0, 0.0, 0.40, 0.4], [0.24, 0.0, 0.64, 0.4], [0.44, 0.0, 0.84, 0.4]]
    detector = S3FDDetector(FakeNetwork(boxes, [0.99, 0.98, 0.97]), scale=1)
    assert len(detector(frames(1))[0]) == 1
    alone = S3FDDetector(FakeNetwork(boxes[::2], [0.99, 0.97]), scale=1)
    assert len(alone(frames(1))[0]) == 2


def test_the_network_sees_frames_as_opencv_scales_them():
    network = FakeNetwork([[0.0, 0.0, 0.5, 0.5]], [0.1])
    shown = frames(5, 122, 163)
    found = S3FDDetector(network, scale=0.25, batch_size=2)(shown)
    assert [len(detections) for detections in found] == [0] * 5
    assert [len(batch) for batch in network.seen] == [2, 2, 1]
    expected = cv2.resize(shown[4], (0, 0), fx=0.25, fy=0.25).transpose(2, 0, 1)
    assert np.array_equal(network.seen[-1][0].numpy(), expected)


def test_a_real_network_serves_as_a_face_detector(model):
    detector = S3FDDetector(model, scale=0.5, confidence=0.3)
    found = detect_faces(iter([frames(3), frames(2)]), detector, every=2)
    assert len(found) == 5
    assert [len(found[index]) > 0 for index in range(5)] == [True, False, True, False, True]
    np.testing.assert_allclose(found[0].boxes, detector(frames(1))[0].boxes, rtol=1e-4)  # another batch size
    assert (np.diff(found[0].scores) <= 0).all()
    assert (found[0].scores > 0.3).all()


def test_no_frames_are_no_detections(model):
    assert S3FDDetector(model)(np.zeros((0, 120, 160, 3), np.uint8)) == []


def test_frames_too_small_after_scaling_are_refused(model):
    with pytest.raises(ValueError, match=r"`frames` of 160 x 100 pixels are too small at `scale` 0\.25.*Raise `scale`"):
        S3FDDetector(model)(frames(1, 100, 160))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"scale": 0}, "`scale` must be above 0, got 0"),
        ({"confidence": 1.2}, r"`confidence` must be at least 0 and at most 1, got 1.2"),
        ({"nms_threshold": -0.1}, r"`nms_threshold` must be at least 0 and at most 1, got -0.1"),
        ({"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
    ],
)
def test_an_invalid_option_of_the_detector_is_refused(model, option, message):
    with pytest.raises(ValueError, match=message):
        S3FDDetector(model, **option)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_damaged_folder_is_named(tmp_path, file):
    tiny_model(zoo.find_row("s3fd")).save_pretrained(tmp_path)
    S3FDDetector.from_pretrained(tmp_path)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(OSError, match=str(tmp_path)):
        S3FDDetector.from_pretrained(tmp_path)


def test_a_folder_of_another_model_or_without_some_weights_is_no_detector(model, tmp_path):
    tiny_model(zoo.find_row("flexiast"), problem_type="single_label_classification").save_pretrained(tmp_path / "ast")
    with pytest.raises(ValueError, match=r"holds no S3FD: its `model_type` is 'flexiast'"):
        S3FDDetector.from_pretrained(tmp_path / "ast")
    model.save_pretrained(tmp_path / "s3fd")
    assert S3FDDetector.from_pretrained(tmp_path / "s3fd").model.config.model_type == "s3fd"
    weights = load_file(tmp_path / "s3fd" / "model.safetensors")
    del weights["conv_fc6.bias"]
    save_file(weights, tmp_path / "s3fd" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"holds no S3FD: 1 of its weights are not there"):
        S3FDDetector.from_pretrained(tmp_path / "s3fd")
