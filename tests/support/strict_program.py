"""LocalStack's S3 behind a plain HTTP server, corrected where it is laxer than AWS. Runs in an environment of its own.

`StrictServer` (strict_server.py) starts it; nothing imports it. It prints its address and serves until it is killed.
No licence, account, container or network is asked for. What it corrects of LocalStack 4.13.1 is told at each class
and function below, and in docs/test-bed.md.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from urllib.parse import unquote_to_bytes

from localstack.aws.api.s3 import AccessDenied, InvalidRequest, PreconditionFailed
from localstack.aws.app import LocalstackAwsGateway
from localstack.aws.protocol.serializer import S3ResponseSerializer
from localstack.services.s3.models import S3Object, VersionedKeyStore
from localstack.services.s3.provider import S3Provider
from localstack.services.s3.utils import extract_bucket_key_version_id_from_copy_source, get_unique_key_id
from rolo.gateway.wsgi import WsgiGateway
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

_SET = VersionedKeyStore.set
_NOT_APPLICABLE = "The encryption parameters are not applicable to this object."
_NO_KEY = "The object was stored using a form of Server Side Encryption. The correct parameters must be provided."
_CONDITION = "At least one of the pre-conditions you specified did not hold"
_ENTRY = re.compile(rb"<(Version|DeleteMarker)>.*?</\1>", re.DOTALL)
_KEY = re.compile(rb"<Key>(.*?)</Key>", re.DOTALL)
_EXACT = re.compile(rb"(<LastModified>[^<.]+)(\.\d{6})Z")


def opaque_etag(held: S3Object) -> str | None:
    """Under SSE-C and SSE-KMS an ETag looks like an MD5 and is none; LocalStack tells the MD5."""
    plain: str | None = held.__dict__.get("etag")
    if plain is None or not (held.sse_key_hash or str(held.encryption).startswith("aws:kms")):
        return plain
    digest, dash, parts = plain.partition("-")
    return hashlib.md5(f"sealed {digest} {held.last_modified}".encode()).hexdigest() + dash + parts


def _held(provider: S3Provider, context: Any, bucket: str, key: str, version: str | None) -> S3Object | None:
    """The object, or None where there is none or a marker."""
    _, found = provider._get_cross_account_bucket(context, bucket)
    try:
        held: S3Object = found.get_object(key=key, version_id=version)
    except Exception:
        return None
    return held


def _corrected(name: str) -> Callable[[Callable[[S3Provider, Any, Any], None]], None]:
    """Run the function before the provider's *name*; it raises what AWS would answer."""

    def register(check: Callable[[S3Provider, Any, Any], None]) -> None:
        served = getattr(S3Provider, name)

        @functools.wraps(served)
        def checked(self: S3Provider, context: Any, request: Any) -> Any:
            check(self, context, request)
            return served(self, context, request)

        setattr(S3Provider, name, checked)

    return register


def key_of_a_plain_object(provider: S3Provider, context: Any, request: Any) -> None:
    """A customer's key for an object that is not encrypted with one is an error; LocalStack ignores it."""
    held = _held(provider, context, request["Bucket"], request["Key"], request.get("VersionId"))
    if held is not None and not held.sse_key_hash and request.get("SSECustomerKeyMD5"):
        raise InvalidRequest(_NOT_APPLICABLE)


def _with_tag_count(name: str) -> None:
    """LocalStack counts the tags of the null version where no version is asked for."""
    served = getattr(S3Provider, name)

    @functools.wraps(served)
    def counted(self: S3Provider, context: Any, request: Any) -> Any:
        response = served(self, context, request)
        bucket, key = request["Bucket"], request["Key"]
        store, _ = self._get_cross_account_bucket(context, bucket)
        response.pop("TagCount", None)
        if tags := store.TAGS.tags.get(get_unique_key_id(bucket, key, response.get("VersionId"))):
            response["TagCount"] = len(tags)
        return response

    setattr(S3Provider, name, counted)


for read in ("get_object", "head_object"):
    _corrected(read)(key_of_a_plain_object)
    _with_tag_count(read)


def _check_copy_source(provider: S3Provider, context: Any, request: Any) -> None:
    where = extract_bucket_key_version_id_from_copy_source(request["CopySource"])
    held, given = _held(provider, context, *where), request.get("CopySourceSSECustomerKeyMD5")
    if held is None or held.sse_key_hash == given:
        return
    if not held.sse_key_hash:
        raise InvalidRequest(_NOT_APPLICABLE)
    raise AccessDenied("Access Denied") if given else InvalidRequest(_NO_KEY)


@_corrected("upload_part_copy")
def keys_of_a_copied_part(provider: S3Provider, context: Any, request: Any) -> None:
    """LocalStack asks for neither the source's key nor the upload's."""
    _check_copy_source(provider, context, request)
    _, bucket = provider._get_cross_account_bucket(context, request["Bucket"])
    upload = bucket.multiparts.get(request["UploadId"])
    if upload is not None and upload.object.sse_key_hash != request.get("SSECustomerKeyMD5"):
        raise InvalidRequest("The provided encryption parameters did not match the ones used originally.")


@_corrected("copy_object")
def conditions_of_a_copy(provider: S3Provider, context: Any, request: Any) -> None:
    """LocalStack ignores If-None-Match and If-Match on a copy's destination."""
    _check_copy_source(provider, context, request)
    held = _held(provider, context, request["Bucket"], request["Key"], None)
    wanted = request.get("IfMatch")
    if (held is not None and request.get("IfNoneMatch")) or (
        wanted and (held is None or held.etag != wanted.strip('"'))
    ):
        raise PreconditionFailed(_CONDITION, Condition="If-None-Match" if request.get("IfNoneMatch") else "If-Match")


def newest_last(store: VersionedKeyStore, object_key: str, s3_object: Any) -> None:
    """A null version written again takes its place as the newest; LocalStack leaves it where the first one was."""
    before = store.get(object_key)
    if before is not None:
        before.is_current = False
    store._store[object_key].pop(s3_object.version_id, None)
    _SET(store, object_key, s3_object)


def exactly(moment: datetime) -> str:
    """With microseconds, for `interleaved`, which takes them out again."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def interleaved(page: bytes) -> bytes:
    """Versions and markers as S3 lists them: by key, the newest first, in one row; LocalStack lists all markers last.

    The times become whole seconds, as S3 tells them, so that nothing but the place in the list gives the order.
    """
    entries = [found.group() for found in _ENTRY.finditer(page)]
    if not page.startswith(b"<?xml"):
        return page
    if b"<ListVersionsResult" in page and entries:
        first, last = page.index(entries[0]), page.rindex(entries[-1]) + len(entries[-1])
        between = _ENTRY.sub(b"", page[first:last])
        newest_first = sorted(entries, key=_modified, reverse=True)
        page = page[:first] + b"".join(sorted(newest_first, key=_key)) + between + page[last:]
    return _EXACT.sub(rb"\1.000Z", page)


def _key(entry: bytes) -> bytes:
    found = _KEY.search(entry)
    return unquote_to_bytes(found.group(1)) if found else b""


def _modified(entry: bytes) -> bytes:
    found = _EXACT.search(entry)
    return found.group() if found else b""


def serve() -> None:
    """On a free port, until killed."""
    S3Object.etag = property(opaque_etag, lambda held, value: held.__dict__.update(etag=value))
    VersionedKeyStore.set = newest_last
    S3ResponseSerializer._timestamp_iso8601 = staticmethod(exactly)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    gateway = WsgiGateway(LocalstackAwsGateway())

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        told: list[Any] = []
        answer = gateway(environ, lambda status, headers, *_: told.append((status, headers)))
        status, headers = told[0]
        if dict(headers).get("Content-Type", "").endswith("/xml") and environ["REQUEST_METHOD"] != "HEAD":
            page = interleaved(b"".join(answer))
            headers = [(name, str(len(page)) if name == "Content-Length" else value) for name, value in headers]
            answer = [page]
        start_response(status, headers)
        return answer

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_request(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadedWSGIServer("127.0.0.1", 0, application, handler=Handler)
    print(f"http://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve()
