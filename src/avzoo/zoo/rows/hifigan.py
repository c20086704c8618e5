"""HiFi-GAN (arXiv 2010.05646)."""

from avzoo.zoo.row import License, Row, Task, Variant

ROW = Row(
    name="hifigan",
    title="HiFi-GAN",
    summary="A vocoder: log-mel spectrograms to speech, as transformers' `SpeechT5HifiGan`; LTBS speaks with it.",
    paper="2010.05646",
    paper_title="HiFi-GAN: Generative Adversarial Networks for Efficient and High Fidelity Speech Synthesis",
    repository="jik876/hifi-gan@4769534",
    tasks=(Task("vocoding"),),
    pipeline_tag="audio-to-audio",
    tags=("vocoder", "speech", "mel-spectrogram"),
    exports={},
    config_class="SpeechT5HifiGanConfig",
    model_class="SpeechT5HifiGan",
    processor_class=None,
    auto_classes={},
    stock_classes={"transformers": ("SpeechT5HifiGan", "SpeechT5HifiGanConfig")},
    licenses={
        "code": License("mit", True, "the repository the facts were read in; nothing of it is used here"),
        "weights": License("unknown", None, "the repository is MIT-licensed and does not name its weights; ask"),
        "data": License("other", None, "LJ Speech, VCTK and LibriTTS, each under terms of its own; not verified"),
    },
    variants=(
        Variant(
            "22khz",
            "The authors' generators V1 and V2 at 22.05 kHz, 256 samples a frame, 0 to 8000 Hz.",
            "generator_v1",
            training_data="LJ Speech",
        ),
        Variant("16khz", "A generator at 16 kHz, 160 samples a frame, 55 to 7500 Hz, as LTBS needs it."),
        Variant("other", "A generator of other settings, which its config.json tells."),
    ),
)
