"""The zoo as data: one row per method. Every list of methods in the project is derived from `METHODS`.

`COMPONENTS` are networks that methods need around them (a face detector) and that are no method of the zoo: they are
converted, loaded and looked up like one, and appear in no table. `NETWORKS` is both.

Reading a row imports neither torch nor transformers; the classes it names are imported when they are asked for.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class License:
    """Terms of one thing. `identifier` is the Hub's (SPDX in lower case, "other", "unknown")."""

    identifier: str
    commercial_use: bool | None = None
    note: str = ""


@dataclass(frozen=True)
class Variant:
    """One released checkpoint, or one kind of file, that a method's converter understands.

    Args:
        checkpoint: name of the authors' file, where there is one.
        config: config fields that the checkpoint's shapes do not tell.
        labels: name of the list of its classes.
        processor: arguments of the processor that belongs to it.
        training_data: the dataset as the Hub names it, or as the authors do.
    """

    name: str
    summary: str
    checkpoint: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    labels: str | None = None
    processor: Mapping[str, Any] = field(default_factory=dict)
    training_data: str | None = None


@dataclass(frozen=True)
class Part:
    """What a pipeline needs beside the authors' own file, and they take from others.

    Args:
        repository: on the Hub. holds: what is taken from there. license: its terms.
    """

    repository: str
    holds: str
    license: License


@dataclass(frozen=True)
class Method:
    """One published method.

    Args:
        name: folder under `models/`, name of its card, and the word the command line takes.
        paper: arXiv number. repository: where the facts about the released weights come from, owner/name@commit.
        task: name of its pipeline. pipeline_tag: the tag from the Hub's list that comes nearest.
        exports: module under `avzoo` -> public names it holds; they are also reachable as `avzoo.<name>`.
        config_class, model_class, processor_class: names among `exports`; model_class is the one that does the task.
            Where a diffusion pipeline does it, the network of the pipeline that is the method's own.
        auto_classes: transformers' Auto class -> names of the model classes it finds, one for each config class.
        task_pipeline: name among `exports` of the class that serves `task` in `transformers.pipeline`.
        diffusion_pipeline: name among `exports` of the diffusers pipeline that does the task.
        parts: what a pipeline needs beside the authors' file, by name.
        licenses: terms of "code", "weights" (all that a converted folder holds) and "data" as the owners state them.
    """

    name: str
    title: str
    summary: str
    paper: str
    paper_title: str
    repository: str
    task: str
    pipeline_tag: str
    tags: tuple[str, ...]
    exports: Mapping[str, tuple[str, ...]]
    config_class: str
    model_class: str
    processor_class: str | None
    auto_classes: Mapping[str, tuple[str, ...]]
    task_pipeline: str | None
    licenses: Mapping[str, License]
    diffusion_pipeline: str | None = None
    parts: Mapping[str, Part] = field(default_factory=dict)
    variants: tuple[Variant, ...] = ()
    metrics: tuple[str, ...] = ()

    def load(self, name: str) -> Any:
        """The class or function `name` of this method, imported now."""
        for module, names in self.exports.items():
            if name in names:
                return getattr(importlib.import_module(f"avzoo.{module}"), name)
        raise AttributeError(f"{self.name} has no public name {name!r}; it has {', '.join(self.public_names)}.")

    @property
    def public_names(self) -> tuple[str, ...]:
        return tuple(name for names in self.exports.values() for name in names)

    @property
    def commercial_use(self) -> bool | None:
        """Whether code, weights and data all allow commercial use; None where an owner does not say."""
        answers = [terms.commercial_use for terms in self.licenses.values()]
        return False if False in answers else None if None in answers else True

    def variant(self, name: str) -> Variant:
        """The variant called `name`.

        Raises:
            ValueError: there is none; the message lists those there are.
        """
        return _find(self.variants, name, f"variant of {self.name}")


# Sizes the authors draw from in training, square or 16 mel bins high.
_SQUARE_SIZES = [8, 10, 12, 15, 16, 20, 24, 30, 32, 40, 48]
_TIME_SIZES = [[16, frames] for frames in (8, 10, 12, 16, 20, 24, 30, 32, 40, 48)]

# What the weights of xjchenGit/MTDVocaLiST and of vskadandale/vocalist saw; on the other's pixels they fail without a
# word.
_STUDENT = {"channel_order": "rgb", "rescale_factor": 1.0, "resize": "torch"}
_ORIGINAL_TEACHER = {"channel_order": "bgr", "rescale_factor": 1 / 255, "resize": "opencv"}

# What a score means, and the windows that are averaged, as the authors' own scripts have it.
_LOCONET = {"audio_features": "log_mel", "crop": "tight", "score": "probability", "durations": (6,), "num_speakers": 3}
_TALKNET = {"audio_features": "mfcc", "score": "logit", "durations": (1, 2, 3, 4, 5, 6), "num_speakers": 1}

METHODS: tuple[Method, ...] = (
    Method(
        name="flexiast",
        title="FlexiAST",
        summary="Audio tagging with one dial between speed and accuracy: one set of weights for every patch size.",
        paper="2307.09286",
        paper_title="FlexiAST: Flexibility is What AST Needs",
        repository="JiuFengSC/FlexiAST_INTERSPEECH23@74a6ee8",
        task="audio-classification",
        pipeline_tag="audio-classification",
        tags=(
            "audio",
            "audio-tagging",
            "sound-event-classification",
            "audio-spectrogram-transformer",
            "flexible-patch",
        ),
        exports={
            "models.flexiast": (
                "FlexiASTConfig",
                "FlexiASTModel",
                "FlexiASTForAudioClassification",
                "FlexiASTFeatureExtractor",
            ),
            "pipelines.audio_classification": ("AudioClassificationPipeline",),
        },
        config_class="FlexiASTConfig",
        model_class="FlexiASTForAudioClassification",
        processor_class="FlexiASTFeatureExtractor",
        auto_classes={
            "AutoModel": ("FlexiASTModel",),
            "AutoModelForAudioClassification": ("FlexiASTForAudioClassification",),
        },
        task_pipeline="AudioClassificationPipeline",
        licenses={
            "code": License("bsd-3-clause", True, "the authors' repository; nothing of it is used here"),
            "weights": License("bsd-3-clause", True, "published with the repository, which states no other terms"),
            "data": License("unknown", None, "AudioSet, VGGSound and VoxCeleb point to videos of many owners"),
        },
        variants=(
            Variant(
                "audioset",
                "527 AudioSet classes, two prefix tokens, multi-label.",
                "AudioSet_DeiT384_Flexified",
                {"problem_type": "multi_label_classification", "patch_sizes": _SQUARE_SIZES},
                "audioset",
                {"mean": -4.2677393, "std": 4.5689974},
                "AudioSet",
            ),
            Variant(
                "vggsound",
                "309 VGGSound classes, one prefix token, trained with binary cross-entropy.",
                "VGGSound_ViT224_Flexified",
                {"problem_type": "multi_label_classification", "patch_sizes": _SQUARE_SIZES},
                "vggsound",
                {"mean": -5.0767093, "std": 4.4533687},
                "VGGSound",
            ),
            Variant(
                "voxceleb",
                "1251 VoxCeleb1 speakers, patches flexible along time only: (16, frames).",
                "VoxCeleb_ViT224_OnlyTime_Flexified",
                {"problem_type": "single_label_classification", "patch_sizes": _TIME_SIZES},
                "voxceleb",
                {"mean": -3.7614744, "std": 4.2011642},
                "VoxCeleb1",
            ),
            Variant("ast", "An AST file of YuanGongND/ast, or an AST folder of transformers, exactly as it is."),
            Variant("flexify", "The same files made flexible: base patch 16 without overlap, positions resampled."),
        ),
        metrics=("mAP", "accuracy"),
    ),
    Method(
        name="coarse_to_fine_ast",
        title="Coarse-to-fine AST",
        summary="Training audio taggers on short spectrograms first, full ones last: less compute, an ordinary AST.",
        paper="2401.08415",
        paper_title="From Coarse to Fine: Efficient Training for Audio Spectrogram Transformers",
        repository="JiuFengSC/ElasticAST@da75493",
        task="audio-classification",
        pipeline_tag="audio-classification",
        tags=("audio", "audio-tagging", "audio-spectrogram-transformer", "efficient-training", "curriculum-learning"),
        exports={
            "models.coarse_to_fine_ast": (
                "CoarseToFineASTConfig",
                "CoarseToFineASTForAudioClassification",
                "CoarseToFineASTFeatureExtractor",
            ),
            "pipelines.audio_classification": ("AudioClassificationPipeline",),
            "training.phases": ("Phase", "PhaseSchedule", "PhaseRun"),
            "training.phased_loop": ("train_in_phases",),
            "training.trainer_callback": ("PhaseCallback",),
        },
        config_class="CoarseToFineASTConfig",
        model_class="CoarseToFineASTForAudioClassification",
        processor_class="CoarseToFineASTFeatureExtractor",
        auto_classes={"AutoModelForAudioClassification": ("CoarseToFineASTForAudioClassification",)},
        task_pipeline="AudioClassificationPipeline",
        licenses={
            "code": License(
                "bsd-3-clause",
                True,
                "that of FlexiAST's repository by the same authors; for this paper none was published",
            ),
            "weights": License(
                "unknown", None, "none were published; converted ones have the terms of the AST they come from"
            ),
            "data": License("unknown", None, "whatever the AST was trained on"),
        },
        variants=(
            Variant(
                "ast", "An AST or FlexiAST in any form FlexiAST's converter reads, to be trained from coarse to fine."
            ),
        ),
        metrics=("mAP", "accuracy"),
    ),
    Method(
        name="mtdvocalist",
        title="MTDVocaLiST",
        summary="Whether mouth and voice are in time, and by how much they are not.",
        paper="2210.15563",
        paper_title="Multimodal Transformer Distillation for Audio-Visual Synchronization",
        repository="xjchenGit/MTDVocaLiST@5795416",
        task="audio-visual-synchronization",
        pipeline_tag="video-classification",
        tags=("audio-visual", "lip-sync", "audio-visual-synchronization", "knowledge-distillation"),
        exports={
            "models.mtdvocalist": (
                "VocaLiSTConfig",
                "VocaLiSTModel",
                "VocaLiSTForSequenceClassification",
                "MTDVocaLiSTConfig",
                "MTDVocaLiSTForSequenceClassification",
                "MTDLoss",
                "VocaLiSTProcessor",
                "OffsetScorer",
            ),
            "pipelines.audio_visual_synchronization": ("AudioVisualSynchronizationPipeline",),
        },
        config_class="MTDVocaLiSTConfig",
        model_class="MTDVocaLiSTForSequenceClassification",
        processor_class="VocaLiSTProcessor",
        auto_classes={
            "AutoModel": ("MTDVocaLiSTForSequenceClassification", "VocaLiSTForSequenceClassification"),
            "AutoModelForSequenceClassification": (
                "MTDVocaLiSTForSequenceClassification",
                "VocaLiSTForSequenceClassification",
            ),
        },
        task_pipeline="AudioVisualSynchronizationPipeline",
        licenses={
            "code": License("unknown", None, "the student's repository states none; nothing of it is used here"),
            "weights": License(
                "other",
                False,
                "VocaLiST is CC BY-NC 4.0 with non-commercial parts of Wav2Lip; the student states no terms",
            ),
            "data": License(
                "other", False, "LRS2 is for research under an agreement with the BBC; Acappella's terms: not verified"
            ),
        },
        variants=(
            Variant(
                "student",
                "The distilled student, 13.28 M parameters. RGB, values 0..255.",
                "pure_MTDVocaLiST.pth",
                processor=_STUDENT,
                training_data="LRS2",
            ),
            Variant(
                "teacher",
                "The original VocaLiST, 80.11 M parameters. BGR, values 0..1.",
                "vocalist_5f_lrs2.pth",
                processor=_ORIGINAL_TEACHER,
                training_data="LRS2",
            ),
            Variant(
                "teacher-acappella",
                "The original VocaLiST for singing voices.",
                "vocalist_5f_acappella.pth",
                processor=_ORIGINAL_TEACHER,
                training_data="Acappella",
            ),
            Variant(
                "teacher-acappella-25f",
                "The same with windows of one second.",
                "vocalist_25f_acappella.pth",
                config={"context_frames": 25},
                processor={**_ORIGINAL_TEACHER, "context_frames": 25},
                training_data="Acappella",
            ),
            Variant(
                "distillation-teacher",
                "VocaLiST trained anew by the student's authors, who taught the student with it. RGB, values 0..255.",
                "pure_Vocalist.pth",
                processor=_STUDENT,
                training_data="LRS2",
            ),
        ),
        metrics=("accuracy",),
    ),
    Method(
        name="voiceldm",
        title="VoiceLDM",
        summary="Speech in an acoustic scene: one text says what is heard around it, another what is said.",
        paper="2309.13664",
        paper_title="VoiceLDM: Text-to-Speech with Environmental Context",
        repository="glory20h/VoiceLDM@16ebc7a",
        task="text-to-audio",
        pipeline_tag="text-to-audio",
        tags=("text-to-speech", "sound-effects", "latent-diffusion", "dual-guidance", "diffusers"),
        exports={
            "models.voiceldm": ("VoiceLDMContentEncoder", "VoiceLDMContentEncoderConfig"),
            "pipelines.pipeline_voiceldm": ("VoiceLDMPipeline",),
        },
        config_class="VoiceLDMContentEncoderConfig",
        model_class="VoiceLDMContentEncoder",
        processor_class=None,
        auto_classes={"AutoModel": ("VoiceLDMContentEncoder",)},
        task_pipeline=None,
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
                "content tokenizer, and what the content encoder was trained from",
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
    ),
    Method(
        name="avdiffuss",
        title="AVDiffuSS",
        summary="One voice out of two who talk at once, by looking at the face of whoever is wanted.",
        paper="2310.19581",
        paper_title="Seeing Through the Conversation: Audio-Visual Speech Separation based on Diffusion Model",
        repository="kaistmm/AVDiffuSS@86d8203",
        task="audio-visual-separation",
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
            "pipelines.pipeline_avdiffuss": ("AVDiffuSSPipeline",),
        },
        config_class="AVDiffuSSVisualEncoderConfig",
        model_class="AVDiffuSSVisualEncoder",
        processor_class="AVDiffuSSProcessor",
        auto_classes={"AutoModel": ("AVDiffuSSVisualEncoder",)},
        task_pipeline=None,
        licenses={
            "code": License("unknown", None, "the authors' repository states none; nothing of it is used here"),
            "weights": License("unknown", None, "published without terms"),
            "data": License("other", None, "VoxCeleb2 is CC BY 4.0, its videos belong to many owners; not verified"),
        },
        diffusion_pipeline="AVDiffuSSPipeline",
        variants=(
            Variant(
                "released",
                "The one checkpoint, 57.83 M parameters in four networks.",
                "train_randomly_30epoch.ckpt",
                training_data="VoxCeleb2",
            ),
        ),
        metrics=("SI-SDR", "ESTOI", "PESQ"),
    ),
    Method(
        name="talknce",
        title="TalkNCE",
        summary="Who is speaking: for every face in a video, whether it is the one that is heard, frame by frame.",
        paper="2309.12306",
        paper_title="TalkNCE: Improving Active Speaker Detection with Talk-Aware Contrastive Learning",
        repository="kaistmm/TalkNCE@8666642",
        task="active-speaker-detection",
        pipeline_tag="video-classification",
        tags=("audio-visual", "active-speaker-detection", "diarization", "contrastive-learning"),
        exports={
            "models.talknce": (
                "LoCoNetConfig",
                "LoCoNetForActiveSpeakerDetection",
                "TalkNetConfig",
                "TalkNetForActiveSpeakerDetection",
                "TalkNCELoss",
                "ActiveSpeakerProcessor",
            ),
            "pipelines.active_speaker_detection": ("ActiveSpeakerDetectionPipeline",),
            "pipelines.active_speaker_streaming": ("StreamingActiveSpeaker",),
        },
        config_class="LoCoNetConfig",
        model_class="LoCoNetForActiveSpeakerDetection",
        processor_class="ActiveSpeakerProcessor",
        auto_classes={"AutoModel": ("LoCoNetForActiveSpeakerDetection", "TalkNetForActiveSpeakerDetection")},
        task_pipeline="ActiveSpeakerDetectionPipeline",
        licenses={
            "code": License("mit", True, "TalkNCE's and TalkNet's repositories; LoCoNet's states none"),
            "weights": License("unknown", None, "no terms were found stated for the files; ask their authors"),
            "data": License("unknown", None, "movies of many owners (AVA-ActiveSpeaker); VoxCeleb2 and LRS3 (TalkSet)"),
        },
        variants=(
            Variant(
                "loconet",
                "LoCoNet, of TalkNCE's authors (trained with the loss) or of its own (without): the same layout.",
                "talknce_ava_pretrained.model",
                processor=_LOCONET,
                training_data="AVA-ActiveSpeaker",
            ),
            Variant(
                "talknet",
                "TalkNet for videos in the wild, on the faces that its demo cuts.",
                "pretrain_TalkSet.model",
                processor=_TALKNET | {"crop": "lower_face"},
                training_data="TalkSet",
            ),
            Variant(
                "talknet_ava",
                "TalkNet for the boxes that AVA-ActiveSpeaker annotates.",
                "pretrain_AVA.model",
                processor=_TALKNET | {"crop": "tight"},
                training_data="AVA-ActiveSpeaker",
            ),
        ),
        metrics=("mAP", "F1"),
    ),
)


COMPONENTS: tuple[Method, ...] = (
    Method(
        name="s3fd",
        title="S3FD",
        summary="Face detection as TalkNet's demo and SyncNet's preparation scripts do it.",
        paper="1708.05237",
        paper_title="S3FD: Single Shot Scale-invariant Face Detector",
        repository="TaoRuijie/TalkNet-ASD@6d68214",
        task="face-detection",
        pipeline_tag="object-detection",
        tags=("face-detection", "video"),
        exports={"models.s3fd": ("S3FDConfig", "S3FDForFaceDetection", "S3FDDetector")},
        config_class="S3FDConfig",
        model_class="S3FDForFaceDetection",
        processor_class=None,
        auto_classes={"AutoModel": ("S3FDForFaceDetection",)},
        task_pipeline=None,
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
    ),
)

NETWORKS: tuple[Method, ...] = METHODS + COMPONENTS


def method(name: str) -> Method:
    """The row of the method, or of the component, called `name`.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    return _find(METHODS + COMPONENTS, name, "method")


def _find(rows: tuple, name: str, kind: str):
    for row in rows:
        if row.name == name:
            return row
    raise ValueError(f"no {kind} is called {name!r}; there are: {', '.join(row.name for row in rows)}.")
