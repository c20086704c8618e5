"""FlexiAST (arXiv 2307.09286)."""

from avzoo.zoo.row import License, Row, Task, Variant

# Sizes the authors draw from in training, square or 16 mel bins high.
_SQUARE_SIZES = [8, 10, 12, 15, 16, 20, 24, 30, 32, 40, 48]
_TIME_SIZES = [[16, frames] for frames in (8, 10, 12, 16, 20, 24, 30, 32, 40, 48)]

ROW = Row(
    name="flexiast",
    title="FlexiAST",
    summary="Audio tagging with one dial between speed and accuracy: one set of weights for every patch size.",
    paper="2307.09286",
    paper_title="FlexiAST: Flexibility is What AST Needs",
    repository="JiuFengSC/FlexiAST_INTERSPEECH23@74a6ee8",
    tasks=(
        Task(
            "audio-classification",
            pipeline="AudioClassificationPipeline",
            command="pipelines.audio_classification.command",
            demo="pipelines.audio_classification.demo",
        ),
    ),
    pipeline_tag="audio-classification",
    tags=(
        "audio",
        "audio-tagging",
        "sound-event-classification",
        "audio-spectrogram-transformer",
        "flexible-patch",
    ),
    exports={
        "models.flexiast": (
            "FlexiASTConfig",
            "FlexiASTModel",
            "FlexiASTForAudioClassification",
            "FlexiASTFeatureExtractor",
        ),
        "pipelines.audio_classification.pipeline": ("AudioClassificationPipeline",),
    },
    config_class="FlexiASTConfig",
    model_class="FlexiASTForAudioClassification",
    processor_class="FlexiASTFeatureExtractor",
    auto_classes={
        "AutoModel": ("FlexiASTModel",),
        "AutoModelForAudioClassification": ("FlexiASTForAudioClassification",),
    },
    licenses={
        "code": License("bsd-3-clause", True, "the authors' repository; nothing of it is used here"),
        "weights": License("bsd-3-clause", True, "published with the repository, which states no other terms"),
        "data": License("unknown", None, "AudioSet, VGGSound and VoxCeleb point to videos of many owners"),
    },
    variants=(
        Variant(
            "audioset",
            "527 AudioSet classes, two prefix tokens, multi-label.",
            "AudioSet_DeiT384_Flexified",
            {"problem_type": "multi_label_classification", "patch_sizes": _SQUARE_SIZES},
            "audioset",
            {"mean": -4.2677393, "std": 4.5689974},
            "AudioSet",
        ),
        Variant(
            "vggsound",
            "309 VGGSound classes, one prefix token, trained with binary cross-entropy.",
            "VGGSound_ViT224_Flexified",
            {"problem_type": "multi_label_classification", "patch_sizes": _SQUARE_SIZES},
            "vggsound",
            {"mean": -5.0767093, "std": 4.4533687},
            "VGGSound",
        ),
        Variant(
            "voxceleb",
            "1251 VoxCeleb1 speakers, patches flexible along time only: (16, frames).",
            "VoxCeleb_ViT224_OnlyTime_Flexified",
            {"problem_type": "single_label_classification", "patch_sizes": _TIME_SIZES},
            "voxceleb",
            {"mean": -3.7614744, "std": 4.2011642},
            "VoxCeleb1",
        ),
        Variant("ast", "An AST file of YuanGongND/ast, or an AST folder of transformers, exactly as it is."),
        Variant("flexify", "The same files made flexible: base patch 16 without overlap, positions resampled."),
    ),
    metrics=("mAP", "accuracy"),
)
