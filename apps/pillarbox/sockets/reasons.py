"""Reasons that the server gives its clients."""

from enum import StrEnum


class EndReason(StrEnum):
    """Why a subscription ends."""

    REQUESTED = "requested"
    REVOKED = "revoked"
    DELETED = "deleted"


class ResyncReason(StrEnum):
    """Why continuity is lost."""

    EPOCH = "epoch"
    PRUNED = "pruned"
    MOVED = "moved"
    RIGHTS = "rights"
