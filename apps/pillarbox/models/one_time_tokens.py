"""The table of one-time tokens, with which clients open sockets."""

from django.db import models


class OneTimeToken(models.Model):
    """A token that opens one socket. Without the token, which only its client has, a row can't be read."""

    digest = models.TextField(primary_key=True)
    #: The user and the credentials that the token stands for.
    sealed = models.BinaryField()
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.digest
