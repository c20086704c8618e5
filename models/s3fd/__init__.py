"""S3FD (arXiv 1708.05237): the face detector of TalkNet's demo and SyncNet's scripts."""

from .configuration_s3fd import S3FDConfig
from .detection_s3fd import S3FDDetector
from .modeling_s3fd import S3FDForFaceDetection, S3FDOutput

__all__ = ["S3FDConfig", "S3FDDetector", "S3FDForFaceDetection", "S3FDOutput"]
