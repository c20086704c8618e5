"""ACL-SSL (arXiv 2311.04066)."""

from avzoo.zoo.row import License, Part, Row, Task, Variant

ROW = Row(
    name="acl_ssl",
    title="ACL-SSL",
    summary="CLIP hears: a sound becomes a word, and CLIPSeg paints where in a picture that word is.",
    paper="2311.04066",
    paper_title="Can CLIP Help Sound Source Localization?",
    repository="swimmiing/ACL-SSL@57f4a6c",
    tasks=(
        Task(
            "sound-source-localization",
            pipeline="SoundSourceLocalizationPipeline",
            command="pipelines.sound_source_localization.command",
            demo="pipelines.sound_source_localization.demo",
        ),
        Task(
            "audio-image-retrieval",
            pipeline="AudioImageRetrievalPipeline",
            command="pipelines.audio_image_retrieval.command",
            demo="pipelines.audio_image_retrieval.demo",
        ),
    ),
    pipeline_tag="image-segmentation",
    tags=("sound-source-localization", "audio-image-retrieval", "audio-visual", "self-supervised", "clip"),
    exports={
        "models.acl_ssl": ("ACLConfig", "ACLForSoundLocalization", "ACLProcessor"),
        "pipelines.audio_image_retrieval.pipeline": ("AudioImageRetrievalPipeline",),
        "pipelines.sound_source_localization.pipeline": ("SoundSourceLocalizationPipeline",),
    },
    config_class="ACLConfig",
    model_class="ACLForSoundLocalization",
    processor_class="ACLProcessor",
    auto_classes={"AutoModel": ("ACLForSoundLocalization",)},
    licenses={
        "code": License("unknown", None, "the repository has no licence file; nothing of it is used here"),
        "weights": License(
            "unknown",
            None,
            "no terms are stated for the trained 29 MB: ask the authors before you pass them on; BEATs is MIT, CLIPSeg "
            "Apache 2.0",
        ),
        "data": License("cc-by-4.0", None, "VGGSound's list of videos, which belong to many owners; not verified"),
    },
    parts={
        "beats": Part(
            "microsoft/unilm",
            "the frozen audio encoder, BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt",
            License("mit", True, "as microsoft/unilm states"),
        ),
        "clipseg": Part(
            "CIDAS/clipseg-rd64-refined",
            "the frozen grounder, and CLIP's tokenizer",
            License("apache-2.0", True, "as the Hub states"),
        ),
    },
    variants=(
        Variant(
            "vit16",
            "ViT-B/16 at 352 x 352 and BEATs on 10 s, the one released network.",
            "Param_best.pth",
            training_data="VGGSound-144K",
        ),
    ),
    metrics=("cIoU", "AUC", "mIoU", "F"),
)
