"""Coarse-to-fine AST (arXiv 2401.08415)."""

from avzoo.zoo.row import License, Row, Task, Variant

ROW = Row(
    name="coarse_to_fine_ast",
    title="Coarse-to-fine AST",
    summary="Training audio taggers on short spectrograms first, full ones last: less compute, an ordinary AST.",
    paper="2401.08415",
    paper_title="From Coarse to Fine: Efficient Training for Audio Spectrogram Transformers",
    repository="JiuFengSC/ElasticAST@da75493",
    tasks=(
        Task(
            "audio-classification",
            pipeline="AudioClassificationPipeline",
            command="pipelines.audio_classification.command",
            demo="pipelines.audio_classification.demo",
        ),
    ),
    pipeline_tag="audio-classification",
    tags=("audio", "audio-tagging", "audio-spectrogram-transformer", "efficient-training", "curriculum-learning"),
    exports={
        "models.coarse_to_fine_ast": (
            "CoarseToFineASTConfig",
            "CoarseToFineASTForAudioClassification",
            "CoarseToFineASTFeatureExtractor",
        ),
        "pipelines.audio_classification.pipeline": ("AudioClassificationPipeline",),
        "models.coarse_to_fine_ast.phases": ("Phase", "PhaseSchedule", "PhaseRun"),
        "models.coarse_to_fine_ast.phased_loop": ("PhaseResult", "PhasedResult", "train_in_phases"),
        "models.coarse_to_fine_ast.trainer_callback": ("PhaseCallback",),
    },
    config_class="CoarseToFineASTConfig",
    model_class="CoarseToFineASTForAudioClassification",
    processor_class="CoarseToFineASTFeatureExtractor",
    auto_classes={"AutoModelForAudioClassification": ("CoarseToFineASTForAudioClassification",)},
    licenses={
        "code": License(
            "bsd-3-clause",
            True,
            "that of FlexiAST's repository by the same authors; for this paper none was published",
        ),
        "weights": License(
            "unknown", None, "none were published; converted ones have the terms of the AST they come from"
        ),
        "data": License("unknown", None, "whatever the AST was trained on"),
    },
    variants=(
        Variant("ast", "An AST or FlexiAST in any form FlexiAST's converter reads, to be trained from coarse to fine."),
    ),
    metrics=("mAP", "accuracy"),
)
