"""AVDiffuSS (arXiv 2310.19581)."""

from avzoo.zoo.row import License, Row, Task, Variant

ROW = Row(
    name="avdiffuss",
    title="AVDiffuSS",
    summary="One voice out of two who talk at once, by looking at the face of whoever is wanted.",
    paper="2310.19581",
    paper_title="Seeing Through the Conversation: Audio-Visual Speech Separation based on Diffusion Model",
    repository="kaistmm/AVDiffuSS@86d8203",
    tasks=(
        Task(
            "audio-visual-separation",
            command="pipelines.audio_visual_separation.command",
            demo="pipelines.audio_visual_separation.demo",
        ),
    ),
    pipeline_tag="audio-to-audio",
    tags=("audio-visual", "speech-separation", "target-speaker-extraction", "score-based-diffusion", "diffusers"),
    exports={
        "models.avdiffuss": (
            "AVDiffuSSVisualEncoder",
            "AVDiffuSSVisualEncoderConfig",
            "AVDiffuSSProcessor",
        ),
        "models.avdiffuss.modeling_avdiffuss": ("AVDiffuSSModel",),
        "models.avdiffuss.scheduling_ouve": ("OUVEScheduler",),
        "pipelines.audio_visual_separation.pipeline": ("AVDiffuSSPipeline",),
    },
    config_class="AVDiffuSSVisualEncoderConfig",
    model_class="AVDiffuSSVisualEncoder",
    processor_class="AVDiffuSSProcessor",
    auto_classes={"AutoModel": ("AVDiffuSSVisualEncoder",)},
    licenses={
        "code": License("unknown", None, "the authors' repository states none; nothing of it is used here"),
        "weights": License("unknown", None, "published without terms"),
        "data": License("other", None, "VoxCeleb2 is CC BY 4.0, its videos belong to many owners; not verified"),
    },
    diffusion_pipeline="AVDiffuSSPipeline",
    pipeline_components=("AVDiffuSSModel", "AVDiffuSSVisualEncoder", "AVDiffuSSProcessor", "OUVEScheduler"),
    variants=(
        Variant(
            "released",
            "The one checkpoint, 57.83 M parameters in four networks.",
            "train_randomly_30epoch.ckpt",
            training_data="VoxCeleb2",
        ),
    ),
    metrics=("SI-SDR", "ESTOI", "PESQ"),
)
