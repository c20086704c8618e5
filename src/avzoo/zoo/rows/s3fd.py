"""S3FD (arXiv 1708.05237)."""

from avzoo.zoo.row import License, Row, Task, Variant

ROW = Row(
    name="s3fd",
    title="S3FD",
    summary="Face detection as TalkNet's demo and SyncNet's preparation scripts do it.",
    paper="1708.05237",
    paper_title="S3FD: Single Shot Scale-invariant Face Detector",
    repository="TaoRuijie/TalkNet-ASD@6d68214",
    tasks=(Task("face-detection"),),
    pipeline_tag="object-detection",
    tags=("face-detection", "video"),
    exports={"models.s3fd": ("S3FDConfig", "S3FDForFaceDetection", "S3FDDetector")},
    config_class="S3FDConfig",
    model_class="S3FDForFaceDetection",
    processor_class=None,
    auto_classes={"AutoModel": ("S3FDForFaceDetection",)},
    licenses={
        "code": License("mit", True, "the repository the facts were read in; nothing of it is used here"),
        "weights": License("unknown", None, "no terms were found stated for the file; ask its authors"),
        "data": License("cc-by-nc-nd-4.0", False, "WIDER FACE, as the Hub's copy of it states"),
    },
    variants=(
        Variant(
            "sfd_face",
            "The one released network, VGG-16 at six scales.",
            "sfd_face.pth",
            training_data="WIDER FACE",
        ),
    ),
)
