"""Signatures of callbacks, as Standard Webhooks has them, and where their secret is found. No message ever has it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from batchgen import files
from batchgen.errors import UsageError
from batchgen.night.callbacks import Verify

SIGNING_VARIABLE = "BATCHGEN_CALLBACK_SECRET"
SIGNING_FILE_VARIABLE = "BATCHGEN_CALLBACK_SECRET_FILE"
CREDENTIAL = "batchgen_callback_secret"
LONGEST = 1024  # bytes of a file that are read
_SECRET = re.compile(r"(whsec_)?[A-Za-z0-9+/]{16,}={0,2}")


def signing_secret(environ: Mapping[str, str]) -> str | None:
    """The secret that the account's callbacks are signed with; None where none is configured. Raises UsageError."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    credential = os.path.join(folder, CREDENTIAL) if folder else ""
    if secret := environ.get(SIGNING_VARIABLE, "").strip():
        source = SIGNING_VARIABLE
    elif path := environ.get(SIGNING_FILE_VARIABLE):
        source, secret = SIGNING_FILE_VARIABLE, _read(os.path.expanduser(path), SIGNING_FILE_VARIABLE)
    elif credential and os.path.exists(credential):
        source, secret = credential, _read(credential, credential)
    else:
        return None
    if not _SECRET.fullmatch(secret):
        raise UsageError(
            f"the secret of callbacks from {source} must look like whsec_ and Base64, as the account's settings show it"
        )
    return secret


def verifier(secret: str) -> Verify:
    """What says whether a body is signed with the secret, five minutes ago at most. Raises UsageError without its library."""
    try:
        from standardwebhooks import Webhook, WebhookVerificationError
    except ImportError:
        raise UsageError(
            "signed callbacks need standardwebhooks, batchgen's extra [callbacks]: pip install standardwebhooks, or pipx"
            f" inject batchgen standardwebhooks; without {SIGNING_VARIABLE}, a secret in their address does"
        ) from None
    try:
        webhook = Webhook(secret)
    except ValueError:
        raise UsageError(
            "the secret of callbacks is no Base64: a part of it is missing, or it is one too many"
        ) from None

    def verify(body: bytes, headers: Mapping[str, str]) -> bool:
        try:
            webhook.verify(body, dict(headers), json_parse=False)
        except (
            WebhookVerificationError,
            ValueError,
        ):  # the latter for what is no text, or no signature at all
            return False
        return True

    return verify


def _read(path: str, source: str) -> str:
    try:
        with open(path, "rb", opener=files.open_regular) as file:
            return file.read(LONGEST).decode("utf-8", "replace").strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no path"
        raise UsageError(f"the file of the callbacks' secret ({source}) can't be read: {why}") from None
