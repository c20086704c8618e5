"""Cross-modal alignment (arXiv 2309.10724)."""

from avzoo.zoo.row import License, Part, Row, Task, Variant

_PROJECTED = {"image_resize": "pil_bicubic", "base_seconds": None, "channels": "mean", "hop_size": 238}

ROW = Row(
    name="ssl_alignment",
    title="Cross-modal alignment",
    summary="Where in a picture is what is heard, and is it there at all? Also finds pictures by sounds.",
    paper="2309.10724",
    paper_title="Sound Source Localization is All about Cross-Modal Alignment",
    repository="kaistmm/ssl_kccv@7e178e6",
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
    pipeline_tag="other",
    tags=("sound-source-localization", "audio-image-retrieval", "audio-visual", "self-supervised", "cross-modal"),
    exports={
        "models.ssl_alignment": (
            "SSLAlignmentConfig",
            "SSLAlignmentForSoundLocalization",
            "SSLAlignmentModel",
            "SSLAlignmentProcessor",
        ),
        "pipelines.audio_image_retrieval.pipeline": ("AudioImageRetrievalPipeline",),
        "pipelines.sound_source_localization.pipeline": ("SoundSourceLocalizationPipeline",),
    },
    config_class="SSLAlignmentConfig",
    model_class="SSLAlignmentForSoundLocalization",
    processor_class="SSLAlignmentProcessor",
    auto_classes={"AutoModel": ("SSLAlignmentForSoundLocalization",)},
    licenses={
        "code": License("unknown", None, "neither repository has a licence file; nothing of their code is used here"),
        "weights": License("unknown", None, "the authors state no terms for their files"),
        "data": License("cc-by-4.0", None, "VGGSound's list of videos, which belong to many owners; not verified"),
    },
    parts={
        "objectness": Part(
            "timm/resnet18.tv_in1k",
            "an ImageNet ResNet-18 under torchvision's names, for the objectness map",
            License("bsd-3-clause", None, "torchvision's weights; ImageNet's pictures are for research"),
        )
    },
    variants=(
        Variant(
            "alignment",
            "A network with both projections; which of the six released files, or whose training, is not told.",
        ),
        Variant(
            "vggsound_sup",
            "Neighbours by supervised encoders, both trunks from scratch.",
            "ours_sup.pth.tar",
            training_data="VGGSound-144K",
        ),
        Variant(
            "vggsound_selfsup",
            "Neighbours by self-supervised encoders, both trunks from scratch.",
            "ours_selfsup.pth.tar",
            training_data="VGGSound-144K",
        ),
        Variant(
            "vggsound_sup_previs",
            "Neighbours by supervised encoders, the picture's trunk from ImageNet.",
            "ours_sup_previs.pth.tar",
            training_data="VGGSound-144K",
        ),
        Variant(
            "flickr_sup",
            "Neighbours by supervised encoders, both trunks from scratch.",
            "ours_sup.pth.tar",
            training_data="Flickr-SoundNet-144K",
        ),
        Variant(
            "flickr_selfsup",
            "Neighbours by self-supervised encoders, both trunks from scratch.",
            "ours_selfsup.pth.tar",
            training_data="Flickr-SoundNet-144K",
        ),
        Variant(
            "flickr_sup_previs",
            "Neighbours by supervised encoders, the picture's trunk from ImageNet.",
            "ours_sup_previs.pth.tar",
            training_data="Flickr-SoundNet-144K",
        ),
        Variant("lvs", "LVS (arXiv 2104.02691): the same trunks, without projections."),
        Variant("ezvsl", "EZ-VSL (arXiv 2203.09324): stock trunks, a map of 7 x 7.", processor=_PROJECTED),
        Variant("fnac", "FNAC (arXiv 2303.11302): EZ-VSL's network, trained otherwise.", processor=_PROJECTED),
        Variant("slavc", "SLAVC (arXiv 2209.09634): two projections a side, averaged.", processor=_PROJECTED),
    ),
    metrics=("cIoU", "AUC", "IIoU", "R@1"),
)
