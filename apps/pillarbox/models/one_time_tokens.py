"""The table of one-time tokens, with which clients open sockets."""

from django.db import models


class OneTimeToken(models.Model):
    """A token that opens one socket. Only with the token, which its client has, can a row be read."""

    digest = models.TextField(primary_key=True)
    #: The user and the credentials that the token stands for, signed and encrypted.
    sealed = models.BinaryField()
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.digest
