"""SlowFastSign (arXiv 2309.12304)."""

from avzoo.zoo.row import License, Part, Row, Task, Variant

_PHOENIX_RATIO = 210 / 260

ROW = Row(
    name="slowfast_cslr",
    title="SlowFastSign",
    summary="Reads signing: the glosses of a video, with their times.",
    paper="2309.12304",
    paper_title="SlowFast Network for Continuous Sign Language Recognition",
    repository="kaistmm/SlowFastSign@37d1b6c",
    tasks=(
        Task(
            "sign-language-recognition",
            pipeline="SignLanguageRecognitionPipeline",
            command="pipelines.sign_language_recognition.command",
            demo="pipelines.sign_language_recognition.demo",
        ),
    ),
    pipeline_tag="video-classification",
    tags=("sign-language-recognition", "continuous-sign-language-recognition", "ctc", "video", "slowfast"),
    exports={
        "models.slowfast_cslr": (
            "SlowFastSignConfig",
            "SlowFastSignForCTC",
            "SlowFastSignModel",
            "SlowFastSignProcessor",
        ),
        "pipelines.sign_language_recognition.pipeline": ("SignLanguageRecognitionPipeline",),
        "pipelines.sign_language_recognition.streaming": ("StreamingSignRecognizer",),
    },
    config_class="SlowFastSignConfig",
    model_class="SlowFastSignForCTC",
    processor_class="SlowFastSignProcessor",
    auto_classes={"AutoModel": ("SlowFastSignModel",), "AutoModelForCTC": ("SlowFastSignForCTC",)},
    licenses={
        "code": License("unknown", None, "the repository has no licence file; nothing of it is used here"),
        "weights": License("unknown", None, "the authors state no terms for their files"),
        "data": License(
            "other",
            False,
            "PHOENIX14 and PHOENIX14-T are for research that is not commercial, CSL-Daily by agreement; not verified",
        ),
    },
    parts={
        "labels": Part(
            "kaistmm/SlowFastSign",
            "the vocabulary, gloss_dict.npy, or a text file of one gloss per line",
            License("unknown", None, "as the repository"),
        ),
    },
    variants=(
        Variant(
            "phoenix14",
            "German weather forecasts, 1295 glosses.",
            "phoenix2014_dev_18.01_test_18.28.pt",
            config={"vocab_size": 1296},
            processor={"aspect_ratio": _PHOENIX_RATIO},
            training_data="PHOENIX14",
        ),
        Variant(
            "phoenix14t",
            "German weather forecasts that are also translated, 1115 glosses.",
            config={"vocab_size": 1116},
            processor={"aspect_ratio": _PHOENIX_RATIO},
            training_data="PHOENIX14-T",
        ),
        Variant(
            "csl_daily",
            "Chinese Sign Language in daily life, 2000 glosses.",
            config={"vocab_size": 2001},
            processor={"aspect_ratio": 1.0, "top_rows": 40},
            training_data="CSL-Daily",
        ),
        Variant("other", "A network of this kind with another vocabulary."),
        Variant(
            "backbone",
            "SlowFast as it was trained on videos of actions: the start of training, which knows no gloss.",
            "SLOWFAST_64x2_R101_50_50.pkl",
            processor={"aspect_ratio": _PHOENIX_RATIO},
            training_data="Kinetics and AVA",
        ),
    ),
    metrics=("WER",),
)
