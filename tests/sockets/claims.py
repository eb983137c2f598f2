"""Signed claims about a user, as a token that expires, and an authentication class of DRF for them."""

import time

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core import signing
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed


def claims_of(user, seconds):
    """Return a token for a user that expires after ``seconds``."""
    return signing.dumps({"sub": user.pk, "exp": time.time() + seconds})


class Stranger:
    """A user of another system, with a primary key as a user of the project has it."""

    is_authenticated = True

    def __init__(self, pk):
        self.pk = pk


def device_of(user):
    """Return an authenticated object of another model, with the primary key of a user."""
    device = Group(pk=user.pk)
    device.is_authenticated = True
    return device


class DeviceAuthentication(BaseAuthentication):
    """An authentication class for ``Authorization: Device …`` with a primary key."""

    def authenticate(self, request):
        """Return the device with this key."""
        scheme, _, pk = request.headers.get("Authorization", "").partition(" ")
        return (device_of(Group(pk=pk)), None) if scheme == "Device" else None


class ClaimsAuthentication(BaseAuthentication):
    """An authentication class for claims in ``Authorization: Bearer …``, or in the query ``?claims=…``."""

    def authenticate(self, request):
        """
        Return the user of the claims, without asking the database.

        Raises AuthenticationFailed for forged or expired ones.
        """
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        text = text if scheme == "Bearer" else request.GET.get("claims")
        if text is None:
            return None
        try:
            claims = signing.loads(text)
        except signing.BadSignature:
            raise AuthenticationFailed("The token is forged.") from None
        if claims["exp"] <= time.time():
            raise AuthenticationFailed("The token has expired.")
        return get_user_model()(pk=claims["sub"]), claims
