"""ACL-SSL (arXiv 2311.04066): CLIP hears where in a picture the sound is."""

from .configuration_acl_ssl import ACLConfig
from .loss_acl_ssl import ACLTerms, acl_loss
from .modeling_acl_ssl import ACLForSoundLocalization, ACLOutput
from .processing_acl_ssl import ACLProcessor

__all__ = ["ACLConfig", "ACLForSoundLocalization", "ACLOutput", "ACLProcessor", "ACLTerms", "acl_loss"]
