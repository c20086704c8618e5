"""LTBS (arXiv 2308.15256)."""

from avzoo.zoo.row import License, Row, Task, Variant

ROW = Row(
    name="ltbs",
    title="LTBS",
    summary="Speech for a silent video: lips give units, pitch and energy, these a spectrogram, and a flow its detail.",
    paper="2308.15256",
    paper_title="Let There Be Sound: Reconstructing High Quality Speech from Silent Videos",
    repository="YangKangJNU/LTBS@6c977e1",
    tasks=(
        Task(
            "lip-to-speech",
            pipeline="LipToSpeechPipeline",
            command="pipelines.lip_to_speech.command",
            demo="pipelines.lip_to_speech.demo",
        ),
    ),
    pipeline_tag="other",
    tags=("lip-to-speech", "video", "speech", "normalizing-flow"),
    exports={
        "models.ltbs": ("FlowPostNet", "LTBSConfig", "LTBSForLipToSpeech", "LTBSModel", "LTBSProcessor"),
        "pipelines.lip_to_speech.pipeline": ("LipToSpeechPipeline",),
    },
    config_class="LTBSConfig",
    model_class="LTBSForLipToSpeech",
    processor_class="LTBSProcessor",
    auto_classes={"AutoModel": ("LTBSForLipToSpeech",)},
    licenses={
        "code": License("unknown", None, "the authors published none; the public implementation has no licence file"),
        "weights": License("unknown", None, "the authors released none"),
        "data": License("unknown", None, "GRID and Lip2Wav; not verified"),
    },
    variants=(Variant("reimplementation", "What the public implementation's trainer writes."),),
    metrics=("WER", "STOI"),
)
