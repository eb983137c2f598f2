"""Sessions in the database. Keys that no session can have aren't looked up."""

from django.contrib.sessions.backends import db


class SessionStore(db.SessionStore):
    """Django's session store. A cookie may contain a NUL, which PostgreSQL refuses in a query."""

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(None if session_key and "\0" in session_key else session_key)
