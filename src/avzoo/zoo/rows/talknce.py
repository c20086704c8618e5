"""TalkNCE (arXiv 2309.12306)."""

from avzoo.zoo.row import License, Row, Task, Variant

# What a score means, and the windows that are averaged, as the authors' own scripts have it.
_LOCONET = {"audio_features": "log_mel", "crop": "tight", "score": "probability", "durations": (6,), "num_speakers": 3}
_TALKNET = {"audio_features": "mfcc", "score": "logit", "durations": (1, 2, 3, 4, 5, 6), "num_speakers": 1}

ROW = Row(
    name="talknce",
    title="TalkNCE",
    summary="Who is speaking: for every face in a video, whether it is the one that is heard, frame by frame.",
    paper="2309.12306",
    paper_title="TalkNCE: Improving Active Speaker Detection with Talk-Aware Contrastive Learning",
    repository="kaistmm/TalkNCE@8666642",
    tasks=(
        Task(
            "active-speaker-detection",
            pipeline="ActiveSpeakerDetectionPipeline",
            command="pipelines.active_speaker_detection.command",
            demo="pipelines.active_speaker_detection.demo",
        ),
    ),
    pipeline_tag="video-classification",
    tags=("audio-visual", "active-speaker-detection", "diarization", "contrastive-learning"),
    exports={
        "models.talknce": (
            "LoCoNetConfig",
            "LoCoNetForActiveSpeakerDetection",
            "TalkNetConfig",
            "TalkNetForActiveSpeakerDetection",
            "TalkNCELoss",
            "ActiveSpeakerProcessor",
        ),
        "pipelines.active_speaker_detection.pipeline": ("ActiveSpeakerDetectionPipeline",),
        "pipelines.active_speaker_detection.streaming": ("StreamingActiveSpeaker",),
    },
    config_class="LoCoNetConfig",
    model_class="LoCoNetForActiveSpeakerDetection",
    processor_class="ActiveSpeakerProcessor",
    auto_classes={"AutoModel": ("LoCoNetForActiveSpeakerDetection", "TalkNetForActiveSpeakerDetection")},
    licenses={
        "code": License("mit", True, "TalkNCE's and TalkNet's repositories; LoCoNet's states none"),
        "weights": License("unknown", None, "no terms were found stated for the files; ask their authors"),
        "data": License("unknown", None, "movies of many owners (AVA-ActiveSpeaker); VoxCeleb2 and LRS3 (TalkSet)"),
    },
    variants=(
        Variant(
            "loconet",
            "LoCoNet, of TalkNCE's authors (trained with the loss) or of its own (without): the same layout.",
            "talknce_ava_pretrained.model",
            processor=_LOCONET,
            training_data="AVA-ActiveSpeaker",
        ),
        Variant(
            "talknet",
            "TalkNet for videos in the wild, on the faces that its demo cuts.",
            "pretrain_TalkSet.model",
            processor=_TALKNET | {"crop": "lower_face"},
            training_data="TalkSet",
        ),
        Variant(
            "talknet_ava",
            "TalkNet for the boxes that AVA-ActiveSpeaker annotates.",
            "pretrain_AVA.model",
            processor=_TALKNET | {"crop": "tight"},
            training_data="AVA-ActiveSpeaker",
        ),
    ),
    metrics=("mAP", "F1"),
)
