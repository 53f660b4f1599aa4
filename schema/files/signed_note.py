"""Ed25519 signatures on a checkpoint, as C2SP's signed-note has them (https://c2sp.org/signed-note)."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import NamedTuple

from schema.errors import InputMissing, UsageError

_ED25519 = b"\x01"
"""The algorithm's number in key ids and key texts."""


class SignedNote(NamedTuple):
    """A note and what its signature is checked with."""

    note: str
    public_key: str
    """name+id+base64, as tools for signed notes take it."""


def signed(text: str, name: str, key_path: Path) -> SignedNote:
    """*text* signed as *name* by the Ed25519 private key (PEM, no password) at *key_path*.

    Raises UsageError when it is no such key or the extra `sign` is not installed, InputMissing.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError:
        raise UsageError("--sign needs the package cryptography: pip install 's3migrate[sign]'") from None
    try:
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
    except OSError as error:
        raise InputMissing(f"--sign {key_path}: {error.strerror}") from None
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(
            f"--sign {key_path}: not an Ed25519 private key in PEM without a password; "
            "`openssl genpkey -algorithm ed25519` makes one"
        )
    public = _ED25519 + key.public_key().public_bytes_raw()
    key_id = hashlib.sha256(f"{name}\n".encode() + public).digest()[:4]
    signature = base64.b64encode(key_id + key.sign(text.encode())).decode()
    note = f"{text}\n\u2014 {name} {signature}\n"
    return SignedNote(note, f"{name}+{key_id.hex()}+{base64.b64encode(public).decode()}\n")
