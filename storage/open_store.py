"""Opens a store for one side of the declaration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from ssl import get_default_verify_paths

from schema.declaration import Side
from schema.errors import InputMissing, WhichSide
from schema.timeouts import DEFAULT_TIMEOUTS, Timeouts
from storage.credentials import Secrets, ca_bundle_named, customer_key, resolve_credentials
from storage.port import RequestObserver, Unobserved
from storage.s3.store import S3Store


def open_store(
    side: Side,
    *,
    observer: RequestObserver | None = None,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    which: WhichSide = WhichSide.UNKNOWN,
) -> S3Store:
    """A store for *side*: credentials resolved, certificate authorities found, the SSE-C key read.

    *which* end of a pair the store is, so that its errors can say so. Raises CredentialsRefused naming what was
    looked for, CredentialsMisconfigured, ConnectionFailed, InputMissing for a ca_bundle that is not there,
    DeclarationError for an endpoint that is no URL. No request is sent except to fetch credentials.
    """
    key = None if side.sse_customer_key_env is None else customer_key(side.sse_customer_key_env)
    return S3Store(
        replace(side, ca_bundle=certificate_authorities(side.ca_bundle)),
        Secrets(resolve_credentials(side.credentials, region=side.region), key),
        observer=observer or Unobserved(),
        timeouts=timeouts,
        which=which,
    )


def certificate_authorities(named: str | None) -> str:
    """The PEM file to verify servers with: *named*, AWS_CA_BUNDLE, the system's, or the one botocore ships."""
    bundle = named or ca_bundle_named()
    if bundle is not None:
        if not Path(bundle).is_file():
            raise InputMissing(f"the ca_bundle {bundle} is not a file that can be read")
        return bundle
    system = get_default_verify_paths().cafile
    if system is not None and Path(system).is_file():
        return system
    from botocore.httpsession import get_cert_path

    return str(get_cert_path(True))
