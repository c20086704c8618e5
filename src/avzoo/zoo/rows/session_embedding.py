"""Session embeddings (arXiv 2309.14741)."""

from avzoo.zoo.row import License, Row, Task, Variant

ROW = Row(
    name="session_embedding",
    title="Session embeddings",
    summary="Speaker verification that knows which recordings share a session: same person, or same room?",
    paper="2309.14741",
    paper_title=(
        "Rethinking Session Variability: Leveraging Session Embeddings for Session Robustness in Speaker Verification"
    ),
    repository="clovaai/voxceleb_trainer@f51bab8",
    tasks=(
        Task(
            "speaker-verification",
            pipeline="SpeakerVerificationPipeline",
            command="pipelines.speaker_verification.command",
            demo="pipelines.speaker_verification.demo",
        ),
    ),
    pipeline_tag="feature-extraction",
    tags=("speaker-verification", "speaker-recognition", "speaker-embedding", "x-vector", "session-variability"),
    exports={
        "models.session_embedding": (
            "SessionEmbeddingConfig",
            "SessionEmbeddingForXVector",
            "SpeakerEncoderConfig",
            "SpeakerEncoderForXVector",
            "SpeakerFeatureExtractor",
        ),
        "models.session_embedding.training_session_embedding": ("fit_session_head",),
        "pipelines.speaker_verification.pipeline": ("SpeakerVerificationPipeline",),
    },
    config_class="SessionEmbeddingConfig",
    model_class="SessionEmbeddingForXVector",
    processor_class="SpeakerFeatureExtractor",
    auto_classes={"AutoModelForAudioXVector": ("SessionEmbeddingForXVector", "SpeakerEncoderForXVector")},
    licenses={
        "code": License(
            "unknown", None, "none was published for this paper; nothing of the encoders' code is used here"
        ),
        "weights": License(
            "unknown",
            None,
            "none were published for this paper; the encoders' files have their own terms: voxceleb_trainer MIT, "
            "speechbrain and wespeaker Apache 2.0, of the disentangler's no terms were found",
        ),
        "data": License(
            "other", None, "VoxCeleb1 and 2 are CC BY 4.0, their videos belong to many owners; not verified"
        ),
    },
    variants=(
        Variant(
            "rawnet3",
            "RawNet3 on the waveform, trained with an angular margin.",
            "model.pt",
            training_data="VoxCeleb2",
        ),
        Variant(
            "resnetse34v2",
            "ResNetSE34V2 with attentive statistics, trained with softmax and prototypes.",
            "baseline_v2_smproto.model",
            training_data="VoxCeleb2",
        ),
        Variant(
            "resnetse34l",
            "ResNetSE34L, 1.4 M parameters, trained with angular prototypes.",
            "baseline_lite_ap.model",
            training_data="VoxCeleb2",
        ),
        Variant(
            "ecapa_disentangler",
            "ECAPA-TDNN with speaker and environment codes.",
            "baseline_ecapatdnn_de.model",
            training_data="VoxCeleb2",
        ),
        Variant(
            "resnetse34v2_disentangler",
            "ResNetSE34V2 with speaker and environment codes.",
            "baseline_resnetse34V2_de.model",
            training_data="VoxCeleb2",
        ),
        Variant(
            "ecapa_speechbrain",
            "ECAPA-TDNN of speechbrain/spkrec-ecapa-voxceleb.",
            "embedding_model.ckpt",
            training_data="VoxCeleb1 and VoxCeleb2",
        ),
        Variant(
            "wespeaker_resnet34",
            "ResNet34 of wespeaker, which pyannote wraps, too.",
            "avg_model.pt",
            training_data="VoxCeleb2",
        ),
        Variant(
            "wespeaker_ecapa",
            "ECAPA-TDNN of wespeaker, 512 or 1024 channels.",
            "avg_model.pt",
            training_data="VoxCeleb2",
        ),
    ),
    metrics=("EER", "minDCF"),
)
