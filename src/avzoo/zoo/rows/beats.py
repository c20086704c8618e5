"""BEATs (arXiv 2212.09058)."""

from avzoo.zoo.row import License, Row, Task, Variant

ROW = Row(
    name="beats",
    title="BEATs",
    summary="An audio encoder, and a tagger of 527 kinds of sounds; ACL-SSL hears with it.",
    paper="2212.09058",
    paper_title="BEATs: Audio Pre-Training with Acoustic Tokenizers",
    repository="microsoft/unilm@master",
    tasks=(
        Task(
            "audio-classification",
            pipeline="AudioClassificationPipeline",
            command="pipelines.audio_classification.command",
            demo="pipelines.audio_classification.demo",
        ),
    ),
    pipeline_tag="audio-classification",
    tags=("audio-classification", "audio-embedding", "sound-events"),
    exports={
        "models.beats": ("BEATsConfig", "BEATsFeatureExtractor", "BEATsForAudioClassification", "BEATsModel"),
        "pipelines.audio_classification.pipeline": ("AudioClassificationPipeline",),
    },
    config_class="BEATsConfig",
    model_class="BEATsForAudioClassification",
    processor_class="BEATsFeatureExtractor",
    auto_classes={
        "AutoModel": ("BEATsModel",),
        "AutoModelForAudioClassification": ("BEATsForAudioClassification",),
    },
    licenses={
        "code": License("mit", True, "the repository the facts were read in; nothing of it is used here"),
        "weights": License("mit", True, "as that repository states"),
        "data": License("other", None, "AudioSet's list is CC BY 4.0, its videos belong to many owners; not verified"),
    },
    variants=(
        Variant(
            "finetuned",
            "With AudioSet's 527 classes; ACL-SSL takes the file of iteration 3+.",
            "BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt",
            training_data="AudioSet-2M",
        ),
        Variant("pretrained", "Without class head.", "BEATs_iter3_plus_AS2M.pt", training_data="AudioSet-2M"),
    ),
)
