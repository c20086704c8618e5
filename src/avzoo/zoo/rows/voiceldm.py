"""VoiceLDM (arXiv 2309.13664)."""

from avzoo.zoo.row import License, Part, Row, Task, Variant

ROW = Row(
    name="voiceldm",
    title="VoiceLDM",
    summary="Speech in an acoustic scene, from a description of the scene and a text to speak.",
    paper="2309.13664",
    paper_title="VoiceLDM: Text-to-Speech with Environmental Context",
    repository="glory20h/VoiceLDM@16ebc7a",
    tasks=(
        Task(
            "text-to-audio",
            command="pipelines.text_to_audio.command",
            demo="pipelines.text_to_audio.demo",
        ),
    ),
    pipeline_tag="text-to-audio",
    tags=("text-to-speech", "sound-effects", "latent-diffusion", "dual-guidance", "diffusers"),
    exports={
        "models.voiceldm": ("VoiceLDMContentEncoder", "VoiceLDMContentEncoderConfig"),
        "models.layers.griffin_lim_vocoder": ("GriffinLimVocoder", "GriffinLimVocoderConfig"),
        "pipelines.text_to_audio.pipeline": ("VoiceLDMPipeline",),
    },
    config_class="VoiceLDMContentEncoderConfig",
    model_class="VoiceLDMContentEncoder",
    processor_class=None,
    auto_classes={"AutoModel": ("VoiceLDMContentEncoder",)},
    licenses={
        "code": License("apache-2.0", True, "the authors' repository; nothing of it is used here"),
        "weights": License(
            "cc-by-nc-sa-4.0",
            False,
            "denoiser and content encoder are Apache-2.0, but the VAE and the vocoder in the folder are "
            "AudioLDM's, CC BY-NC-SA 4.0: as a whole it is for non-commercial use",
        ),
        "data": License(
            "other", None, "AudioSet, CommonVoice, VoxCeleb and DEMAND, each under terms of its own; not verified"
        ),
    },
    diffusion_pipeline="VoiceLDMPipeline",
    pipeline_components=("VoiceLDMContentEncoder", "GriffinLimVocoder"),
    parts={
        "audioldm": Part(
            "cvssp/audioldm-m-full",
            "VAE, vocoder, scheduler",
            License("cc-by-nc-sa-4.0", False, "non-commercial, and shared alike"),
        ),
        "clap": Part(
            "laion/clap-htsat-unfused",
            "description encoder, audio encoder, their tokenizer and features",
            License("apache-2.0", True, "as its sibling clap-htsat-fused states; not verified for this one"),
        ),
        "speecht5": Part(
            "microsoft/speecht5_tts",
            "content tokenizer, and the initial weights of the content encoder",
            License("mit", True),
        ),
    },
    variants=(
        Variant(
            "m",
            "The larger network, 508.00 M parameters with its content encoder.",
            "voiceldm-m.ckpt",
            {"block_out_channels": (192, 384, 576, 960)},
            training_data="AudioSet",
        ),
        Variant(
            "s",
            "The smaller network, 280.48 M parameters with its content encoder.",
            "voiceldm-s.ckpt",
            {"block_out_channels": (128, 256, 384, 640)},
            training_data="AudioSet",
        ),
    ),
)
