"""The permissions with which a user announces rows again."""

from typing import Any


def may_replay(user: Any, *, is_resend: bool = False) -> bool:
    """Return whether the user may see rows and may also replay (or resend) them."""
    verb = "resend" if is_resend else "replay"
    return bool(
        user.has_perm("pillarbox.view_notificationoutbox")
        and user.has_perm(f"pillarbox.{verb}_notificationoutbox")
    )
