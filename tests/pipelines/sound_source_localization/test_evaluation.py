import json

import numpy as np
import pytest
import torch
from localization_sets import ColourModel, write_json, write_set, write_tone

from avzoo.metrics import consensus_iou, draw_truth, localization_scores, mix_objectness, normalize_maps, upsample_maps
from avzoo.metrics.localization import area_thresholds, truth_areas
from avzoo.models.ssl_alignment import SSLAlignmentConfig, SSLAlignmentForSoundLocalization, SSLAlignmentProcessor
from avzoo.pipelines.sound_source_localization import scoring
from avzoo.pipelines.sound_source_localization.evaluation import choose_upsampling, evaluate_localization
from avzoo.pipelines.sound_source_localization.scoring import FIXED_THRESHOLDS
from avzoo.pipelines.sound_source_localization.test_sets import PROTOCOLS, read_test_set

PROCESSOR = SSLAlignmentProcessor()


def evaluate(root, dataset, model=None, **options):
    return evaluate_localization(model or ColourModel(), PROCESSOR, read_test_set(dataset, root), dataset, **options)


@pytest.fixture
def is3_root(tmp_path):
    return write_set(tmp_path, "is3")


def make_tiny_model() -> SSLAlignmentForSoundLocalization:
    torch.manual_seed(0)
    config = SSLAlignmentConfig(hidden_sizes=(4, 6, 8, 12), depths=(1, 1, 1, 1), projection_dim=10, use_objectness=True)
    return SSLAlignmentForSoundLocalization(config).eval()


# ------------------------------------------------------------------------------------------------ every test set


@pytest.mark.parametrize("dataset", PROTOCOLS)
def test_a_model_that_listens_beats_the_prior_on_every_test_set(tmp_path, dataset):
    report = evaluate(write_set(tmp_path, dataset), dataset)
    assert report.num_evaluated == report.num_listed > 0
    assert report.scores["model"]["adaptive_ciou"] > 0.85
    assert report.scores["centre prior"]["adaptive_ciou"] == 0


@pytest.mark.parametrize("dataset", PROTOCOLS)
def test_prior_and_oracle_are_in_every_report_and_table(tmp_path, dataset):
    report = evaluate(write_set(tmp_path, dataset), dataset)
    assert list(report.scores) == ["model", "centre prior", "oracle"]
    header = next(line for line in report.describe().splitlines() if line.startswith("%"))
    assert "centre prior" in header
    assert "oracle" in header


def test_groups_are_scored_only_where_they_mean_something(tmp_path):
    has_groups = {
        dataset: "iiou" in evaluate(write_set(tmp_path / dataset, dataset), dataset).scores["model"]
        for dataset in PROTOCOLS
    }
    assert {dataset for dataset, found in has_groups.items() if found} == {"is3", "s4", "ms3", "vpo-ss", "vpo-ms"}


def test_a_deaf_model_is_found_out_by_interactive_localization(is3_root):
    class Deaf(ColourModel):
        def get_audio_features(self, input_features):
            return super().get_audio_features(torch.zeros_like(input_features))  # always red

    report = evaluate(is3_root, "is3", Deaf())
    assert report.scores["model"]["adaptive_ciou"] == pytest.approx(1 / 3)
    assert report.scores["model"]["adaptive_iiou"] == 0


def test_avsbench_hears_seconds_1_to_4_of_5(tmp_path):
    # Before and after them, the clips have the tone of the other object.
    assert evaluate(write_set(tmp_path, "s4"), "s4").scores["model"]["adaptive_iiou"] == 1
    assert PROCESSOR.base_seconds == 10


def test_masks_are_scored_where_they_lie_beside_the_boxes(tmp_path):
    scores = evaluate(write_set(tmp_path, "s4"), "s4").scores
    assert scores["oracle"]["miou"] == pytest.approx(1)
    assert scores["oracle"]["f_measure"] == pytest.approx(1)
    assert scores["model"]["miou"] > 0.8 > scores["centre prior"]["miou"]


def test_an_empty_truth_is_told_and_counts_0(tmp_path):
    report = evaluate(write_set(tmp_path, "ms3"), "ms3")
    assert report.ious["oracle"][0] == 0
    assert "samples with an empty truth: 1; they count 0 whatever the map" in report.notes


def test_retrieval_is_by_class_of_raw_and_projected_features(tmp_path):
    scores = evaluate(write_set(tmp_path, "vggss"), "vggss").scores["model"]
    names = [f"{kind} {way} R@{k}" for kind in ("raw", "projected") for way in ("A->I", "I->A") for k in (1, 5, 10)]
    assert [name for name in scores if "R@" in name] == names
    assert {scores[name] for name in names} == {1.0}


def test_with_one_class_there_is_no_retrieval(tmp_path):
    root = write_set(tmp_path, "vggss")
    entries = [entry | {"class": "siren"} for entry in json.loads((root / "vggss.json").read_text())]
    write_json(root / "vggss.json", entries)
    report = evaluate(root, "vggss")
    assert not any("R@" in name for name in report.scores["model"])
    assert "no recall of retrieval: the samples have 1 class" in report.notes


def test_silent_pairs_lower_the_precision_and_not_the_ciou(tmp_path):
    report = evaluate(write_set(tmp_path, "flickr-extended"), "flickr-extended")
    assert report.scores["centre prior"]["loc_acc"] == 0
    assert report.scores["oracle"]["max_f1"] == 1
    assert report.scores["oracle"]["ciou"] == 1
    assert "pairs that don't sound: 3; cIoU and AUC are of the others" in report.notes


def test_the_models_own_decision_is_scored_where_it_makes_one(tmp_path):
    root = write_set(tmp_path, "flickr-extended")
    model = ColourModel()
    assert "f1_of_decision" not in evaluate(root, "flickr-extended", model).scores["model"]
    model.config.confidence_threshold = 0.9  # maps of silent pairs are 0 everywhere, those of sounding ones reach 1
    report = evaluate(root, "flickr-extended", model)
    right = (report.ious["model"][:3] >= 0.5).sum()
    precision, recall = right / 3, 1.0  # what is in a wrong place is no miss
    assert report.scores["model"]["f1_of_decision"] == pytest.approx(2 * precision * recall / (precision + recall))
    assert "f1_of_decision: sounding from a maximum of 0.9 on, as the model decides" in report.notes


# ------------------------------------------------------------------------------------------------ encoding once


class AbsoluteModel(ColourModel):
    """Its maps are 0.62 in the place of the sound and 0.2 beside it, in every picture."""

    has_absolute_maps = True

    def compute_similarity_maps(self, image_features, audio_features, size=None):
        maps = super().compute_similarity_maps(image_features, audio_features)
        if size is not None:
            maps = torch.nn.functional.interpolate(maps.float(), size, mode="nearest")
        return torch.where(maps > 0.5, 0.62, 0.2)


class SureModel(AbsoluteModel):
    """One that has a confidence of its own: the same for every pair."""

    def compute_confidence(self, image_features, audio_features):
        return torch.ones(len(image_features.last_hidden_state), len(audio_features.last_hidden_state))


@pytest.mark.parametrize("dataset", ["vggss", "flickr", "s4", "vggss-extended"])
def test_maps_as_they_are_are_cut_at_fixed_thresholds(tmp_path, dataset):
    root = write_set(tmp_path, dataset)
    report = evaluate(root, dataset, AbsoluteModel(), thresholds=FIXED_THRESHOLDS)
    assert list(report.at_thresholds) == [f"{0.05 * step:g}" for step in range(1, 20)]
    ious = {threshold: scores["mean_iou"] for threshold, scores in report.at_thresholds.items()}
    assert ious["0.25"] == ious["0.4"] == ious["0.6"] > 0.8
    assert ious["0.65"] == ious["0.95"] == 0  # nothing is marked
    assert ious["0.1"] == ious["0.15"] < 0.6  # all of the picture is
    names = set(report.at_thresholds["0.5"]) - {"ciou", "auc", "mean_iou"}
    assert names == {"s4": {"miou", "f_measure"}, "vggss-extended": {"ap", "max_f1_of_ten"}}.get(dataset, set())


def test_fixed_thresholds_have_a_table_of_their_own(tmp_path):
    root = write_set(tmp_path, "vggss")
    text = evaluate(root, "vggss", AbsoluteModel(), thresholds=(0.3, 0.5)).describe()
    assert "to report the best is to choose it on the test set" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["threshold", "ciou", "auc", "mean_iou"] in lines
    assert [line[0] for line in lines if line and line[0] in ("0.3", "0.5")] == ["0.3", "0.5"]
    assert "threshold  " not in evaluate(root, "vggss", AbsoluteModel()).describe()


def test_the_mean_over_masks_is_one_of_batches_of_five(tmp_path, monkeypatch):
    seen = []
    real = scoring.mean_of_batches
    monkeypatch.setattr(scoring, "mean_of_batches", lambda *arguments: seen.append(arguments) or real(*arguments))
    root = write_set(tmp_path, "s4")
    report = evaluate(root, "s4", AbsoluteModel(), thresholds=[0.5])
    ((ious, batch_size),) = seen
    assert (len(ious), batch_size) == (report.num_evaluated, 5)
    assert report.at_thresholds["0.5"]["miou"] == pytest.approx(real(ious, 5)) != 0


def test_a_models_own_confidence_tells_sounding_pairs(tmp_path):
    root = write_set(tmp_path, "vggss-extended")
    by_maximum = evaluate(root, "vggss-extended", AbsoluteModel())
    by_confidence = evaluate(root, "vggss-extended", SureModel(), thresholds=[0.5])
    assert "ap_by_maximum" in by_maximum.scores["model"]
    assert not {"ap_by_maximum", "max_f1_by_maximum"} & by_confidence.scores["model"].keys()
    assert by_confidence.scores["model"]["ap_by_confidence"] == 0  # one value for all gives no order
    assert any("*_by_confidence by the own one" in note for note in by_confidence.notes)


@pytest.mark.parametrize("thresholds", [[], [0.5, 0.4], [0.5, 1.2], [-0.1]])
def test_thresholds_that_do_not_rise_from_0_to_1_are_refused(is3_root, thresholds):
    with pytest.raises(ValueError, match=r"`thresholds` must be numbers in \[0, 1\] that rise, got"):
        evaluate(is3_root, "is3", AbsoluteModel(), thresholds=thresholds)


def test_thresholds_of_maps_that_are_normalized_are_refused(is3_root):
    with pytest.raises(
        ValueError, match=r"`thresholds` are for maps that mean the same .* those of a ColourModel don't"
    ):
        evaluate(is3_root, "is3", thresholds=[0.5])


def test_each_picture_and_each_sound_is_encoded_once(is3_root):
    model = ColourModel(use_objectness=True)
    evaluate(is3_root, "is3", model, batch_size=2)
    # Six samples: three pictures that lie there under two names, and six sounds.
    assert model.encoded == {"image": 3, "audio": 6, "objectness": 3}


def test_the_sound_of_five_frames_is_encoded_once(tmp_path):
    model = ColourModel()
    evaluate(write_set(tmp_path, "ms3"), "ms3", model)
    assert model.encoded["audio"] == 2


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_scores_are_those_of_each_pair_by_itself(is3_root, batch_size):
    model = make_tiny_model()
    samples = list(read_test_set("is3", is3_root))
    maps, objectness = [], []
    with torch.no_grad():
        for sample in samples:
            inputs = PROCESSOR(images=sample["image"], audio=sample["audio"])
            maps.append(model(**inputs).similarity_map[0].numpy())
            objectness.append(model.get_objectness(inputs["pixel_values"])[0].numpy())
    large, guided = (normalize_maps(upsample_maps(np.stack(values), 224, "corners")) for values in (maps, objectness))
    truth = draw_truth([sample["boxes"] for sample in samples])
    groups = [sample["group"] for sample in samples]
    report = evaluate(is3_root, "is3", model, batch_size=batch_size)
    for row, values in (("model", large), ("model with objectness", mix_objectness(large, guided, 0.4))):
        ious = consensus_iou(values, truth)
        adaptive = consensus_iou(values, truth, area_thresholds(values, truth_areas(truth)))
        np.testing.assert_allclose(report.ious[row], ious, atol=1e-3)  # batches change the last bits of a map
        expected = localization_scores(ious, adaptive, groups)
        found = {name: score for name, score in report.scores[row].items() if name in expected}
        assert found == pytest.approx(expected, abs=1e-3)


def test_the_upsampling_of_vggss_is_another_than_that_of_the_others():
    conventions = {dataset: protocol.upsampling for dataset, protocol in PROTOCOLS.items()}
    assert {dataset for dataset, upsampling in conventions.items() if upsampling == "half-pixel"} == {"vggss"}


def test_networks_with_projections_before_the_map_have_aligned_corners_on_vggss_too():
    conventions = [
        choose_upsampling(PROTOCOLS["vggss"], SSLAlignmentConfig(localization_projection=kind))
        for kind in (None, "single", "dual")
    ]
    assert conventions == ["half-pixel", "corners", "corners"]


def test_a_network_without_projections_has_no_projected_retrieval(tmp_path):
    config = SSLAlignmentConfig(hidden_sizes=(4, 6, 8, 12), depths=(1, 1, 1, 1), projection_dim=None)
    model = SSLAlignmentForSoundLocalization(config)
    scores = evaluate(write_set(tmp_path, "vggss"), "vggss", model).scores["model"]
    assert {name.split()[0] for name in scores if "R@" in name} == {"raw"}


def test_an_upsampling_of_ones_own_is_stated(is3_root):
    report = evaluate(is3_root, "is3", upsampling="half-pixel")
    assert report.options["upsampling"] == "half-pixel"
    assert "half-pixel upsampling" in report.describe()


def test_a_model_in_training_is_evaluated_and_goes_on_training(is3_root):
    model = make_tiny_model()
    expected = evaluate(is3_root, "is3", model).scores
    assert evaluate(is3_root, "is3", model.train()).scores == expected
    assert model.training


def test_objectness_can_be_left_out(is3_root):
    report = evaluate(is3_root, "is3", ColourModel(use_objectness=True), objectness_weight=None)
    assert list(report.scores) == ["model", "centre prior", "oracle"]


# ------------------------------------------------------------------------------------------------ what is not there


def test_missing_files_are_counted_and_named_in_the_report(is3_root):
    (is3_root / "images/red_green_0_green.jpg").unlink()
    report = evaluate(is3_root, "is3")
    assert (report.num_evaluated, report.num_listed) == (5, 6)
    assert report.missing == ["red_green_0_green"]
    assert "incomplete groups: 1; their IIoU is of the samples that are there" in report.notes
    text = report.describe()
    assert "IS3: 5 of 6 samples" in text
    assert "1 missing: red_green_0_green" in text


def test_a_broken_picture_is_refused_by_name(is3_root):
    (is3_root / "images/red_green_0_green.jpg").write_bytes(b"\xff\xd8\xff no JPEG")
    with pytest.raises(ValueError, match=r"`samples`: red_green_0_green: .*\(red_green_0_green\.jpg\) is no picture"):
        evaluate(is3_root, "is3")


@pytest.mark.parametrize("name", ["images/red_green_0_green.jpg", "audio_wav/red_green_0_green.wav"])
def test_damaged_files_can_be_left_out_and_are_named(is3_root, name):
    (is3_root / name).write_bytes(b"\xff\xd8\xff no JPEG, nor a WAV file")
    report = evaluate(is3_root, "is3", skip_damaged=True)
    assert list(report.damaged) == ["red_green_0_green"]
    assert report.num_evaluated == 5
    assert "1 damaged: red_green_0_green" in report.describe()


def test_all_files_damaged_is_an_error(is3_root):
    for path in (is3_root / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="`samples`: none of the 6 could be read; the first is red_green_0_red: "):
        evaluate(is3_root, "is3", skip_damaged=True)


def test_no_file_at_all_is_an_error(is3_root):
    for path in (is3_root / "audio_wav").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"none of the 6 has its picture and its sound, the first is .*_red\.wav"):
        evaluate(is3_root, "is3")


def test_an_empty_list_is_refused():
    with pytest.raises(ValueError, match="`samples` is empty"):
        evaluate_localization(ColourModel(), PROCESSOR, [], "is3")


def test_a_sample_twice_is_refused(is3_root):
    samples = list(read_test_set("is3", is3_root))
    with pytest.raises(ValueError, match="`samples` holds red_green_0_red twice"):
        evaluate_localization(ColourModel(), PROCESSOR, samples + samples[:1], "is3")


def test_a_sample_without_a_field_is_refused(is3_root):
    samples = list(read_test_set("is3", is3_root))
    del samples[2]["boxes"], samples[2]["mask"]
    with pytest.raises(ValueError, match=r"`samples\[2\]` has no boxes, mask; see avzoo\.data\.localization_samples"):
        evaluate_localization(ColourModel(), PROCESSOR, samples, "is3")


def test_a_box_out_of_the_picture_is_refused_before_anything_is_encoded(is3_root):
    samples = list(read_test_set("is3", is3_root))
    samples[3]["boxes"] = [[0, 0, 300, 10]]
    model = ColourModel()
    with pytest.raises(ValueError, match="`samples`: green_blue_1_blue: `boxes` must be whole numbers from 0 to 224"):
        evaluate_localization(model, PROCESSOR, samples, "is3")
    assert model.encoded["audio"] == 0


def test_a_damaged_mask_is_refused_by_name(tmp_path):
    root = write_set(tmp_path, "s4")
    mask = root / "Single-source/s4_data/gt_masks/test/red/0d9u2Cy_0xc/0d9u2Cy_0xc_1.png"
    mask.write_bytes(mask.read_bytes()[:150])
    with pytest.raises(ValueError, match=r"`samples`: red/0d9u2Cy_0xc/0d9u2Cy_0xc_1: `mask` \(0d9u2Cy_0xc_1\.png\)"):
        evaluate(root, "s4")


def test_a_test_set_without_any_truth_is_refused(is3_root):
    samples = [sample | {"boxes": [[0, 0, 0, 0]]} for sample in read_test_set("is3", is3_root)]
    with pytest.raises(ValueError, match="the truth of all 6 is empty, so that every score would be 0"):
        evaluate_localization(ColourModel(), PROCESSOR, samples, "is3")


def test_a_map_of_nan_is_refused_by_name(is3_root):
    class Broken(ColourModel):
        def compute_similarity_maps(self, image_features, audio_features):
            return super().compute_similarity_maps(image_features, audio_features) * float("nan")

    with pytest.raises(ValueError, match="the similarity map of red_green_0_red has values that are NaN or infinite"):
        evaluate(is3_root, "is3", Broken())


def test_a_constant_map_scores_0_and_is_no_error(is3_root):
    class Constant(ColourModel):
        def compute_similarity_maps(self, image_features, audio_features):
            return super().compute_similarity_maps(image_features, audio_features) * 0 + 0.5

    assert evaluate(is3_root, "is3", Constant()).scores["model"]["ciou"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"upsampling": "nearest"}, "`upsampling` must be one of None, half-pixel, corners, bicubic-corners"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"objectness_weight": 1.5}, "`objectness_weight` must be at least 0 and at most 1, got 1.5"),
    ],
)
def test_options_out_of_range_are_refused(is3_root, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(is3_root, "is3", **options)


def test_an_unknown_test_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`dataset` must be one of vggss, flickr, is3"):
        read_test_set("imagenet", tmp_path)
    with pytest.raises(ValueError, match="`dataset` must be one of vggss, flickr, is3"):
        evaluate_localization(ColourModel(), PROCESSOR, [], "imagenet")


def test_the_callers_samples_stay_as_they_are(is3_root):
    samples = list(read_test_set("is3", is3_root))
    before = [dict(sample) for sample in samples]
    evaluate_localization(ColourModel(), PROCESSOR, samples, "is3")
    assert samples == before


def test_a_sound_of_a_fifth_of_a_second_is_heard(is3_root):
    write_tone(is3_root / "audio_wav/red_green_0_red.wav", "red", seconds=0.2)
    assert evaluate(is3_root, "is3").scores["model"]["adaptive_iiou"] == 1


# ------------------------------------------------------------------------------------------------ report


def test_a_report_is_saved_with_the_iou_of_each_sample(is3_root, tmp_path):
    report = evaluate(is3_root, "is3")
    saved = json.loads(report.save(tmp_path / "report.json").read_text())
    assert saved["dataset"] == "is3"
    assert (saved["num_evaluated"], saved["num_listed"]) == (6, 6)
    assert saved["scores"] == report.scores
    assert [row["name"] for row in saved["samples"]][:2] == ["red_green_0_red", "red_green_0_green"]
    assert set(saved["samples"][0]) == {
        "name",
        *(f"{row}{kind}" for row in ("model", "centre prior", "oracle") for kind in ("", ", adaptive")),
    }
