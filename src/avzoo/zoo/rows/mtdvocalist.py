"""MTDVocaLiST (arXiv 2210.15563)."""

from avzoo.zoo.row import License, Row, Task, Variant

# Pixels that the weights of xjchenGit/MTDVocaLiST and of vskadandale/vocalist expect; on others they fail silently.
_STUDENT = {"channel_order": "rgb", "rescale_factor": 1.0, "resize": "torch"}
_ORIGINAL_TEACHER = {"channel_order": "bgr", "rescale_factor": 1 / 255, "resize": "opencv"}

ROW = Row(
    name="mtdvocalist",
    title="MTDVocaLiST",
    summary="Detects whether lips and voice are in sync, and estimates their offset.",
    paper="2210.15563",
    paper_title="Multimodal Transformer Distillation for Audio-Visual Synchronization",
    repository="xjchenGit/MTDVocaLiST@5795416",
    tasks=(
        Task(
            "audio-visual-synchronization",
            pipeline="AudioVisualSynchronizationPipeline",
            command="pipelines.audio_visual_synchronization.command",
            demo="pipelines.audio_visual_synchronization.demo",
        ),
    ),
    pipeline_tag="video-classification",
    tags=("audio-visual", "lip-sync", "audio-visual-synchronization", "knowledge-distillation"),
    exports={
        "models.mtdvocalist": (
            "VocaLiSTConfig",
            "VocaLiSTModel",
            "VocaLiSTForSequenceClassification",
            "MTDVocaLiSTConfig",
            "MTDVocaLiSTForSequenceClassification",
            "MTDLoss",
            "VocaLiSTProcessor",
            "OffsetScorer",
        ),
        "pipelines.audio_visual_synchronization.pipeline": ("AudioVisualSynchronizationPipeline",),
    },
    config_class="MTDVocaLiSTConfig",
    model_class="MTDVocaLiSTForSequenceClassification",
    processor_class="VocaLiSTProcessor",
    auto_classes={
        "AutoModel": ("MTDVocaLiSTForSequenceClassification", "VocaLiSTForSequenceClassification"),
        "AutoModelForSequenceClassification": (
            "MTDVocaLiSTForSequenceClassification",
            "VocaLiSTForSequenceClassification",
        ),
    },
    licenses={
        "code": License("unknown", None, "the student's repository states none; nothing of it is used here"),
        "weights": License(
            "other",
            False,
            "VocaLiST is CC BY-NC 4.0 with non-commercial parts of Wav2Lip; the student states no terms",
        ),
        "data": License(
            "other", False, "LRS2 is for research under an agreement with the BBC; Acappella's terms: not verified"
        ),
    },
    variants=(
        Variant(
            "student",
            "The distilled student, 13.28 M parameters. RGB, values 0..255.",
            "pure_MTDVocaLiST.pth",
            processor=_STUDENT,
            training_data="LRS2",
        ),
        Variant(
            "teacher",
            "The original VocaLiST, 80.11 M parameters. BGR, values 0..1.",
            "vocalist_5f_lrs2.pth",
            processor=_ORIGINAL_TEACHER,
            training_data="LRS2",
        ),
        Variant(
            "teacher-acappella",
            "The original VocaLiST for singing voices.",
            "vocalist_5f_acappella.pth",
            processor=_ORIGINAL_TEACHER,
            training_data="Acappella",
        ),
        Variant(
            "teacher-acappella-25f",
            "The same with windows of one second.",
            "vocalist_25f_acappella.pth",
            config={"context_frames": 25},
            processor={**_ORIGINAL_TEACHER, "context_frames": 25},
            training_data="Acappella",
        ),
        Variant(
            "distillation-teacher",
            "VocaLiST trained anew by the student's authors, who taught the student with it. RGB, values 0..255.",
            "pure_Vocalist.pth",
            processor=_STUDENT,
            training_data="LRS2",
        ),
    ),
    metrics=("accuracy",),
)
