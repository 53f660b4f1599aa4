"""The signer equals botocore's S3SigV4Auth byte for byte."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from unittest.mock import patch

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.utils import percent_encode
from hypothesis import example, given
from hypothesis import strategies as st

from storage.credentials import Keys
from storage.wire.signer import EMPTY_PAYLOAD, UNSIGNED_PAYLOAD, Signer, encode_path, encode_query, trimmed

MOMENT = 1_795_550_000
HOST = "minio.example:9000"

ODD_KEYS = [
    "a//b",
    "/a",
    "a/",
    "./x",
    "a/../b",
    "..",
    "a+b",
    "a b",
    "a%2Fb",
    "\x01",
    "é",
    "e\u0301",
    "🦆",
    "~",
    "a?b#c",
]
keys = st.sampled_from(ODD_KEYS) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
printable_characters = st.characters(exclude_categories=["Cs", "Cc"])
printable = st.text(printable_characters, max_size=30)
header_names = st.sampled_from(["content-type", "content-md5", "if-match", "range", "expires"]) | st.from_regex(
    r"x-amz-meta-[a-z0-9_.!#$%&'*+^`|~-]{1,12}", fullmatch=True
)
queries = st.lists(st.tuples(st.text(printable_characters, max_size=8), printable), max_size=4)


def botocore_headers(
    access: Keys, method: str, path: str, query: str, headers: dict[str, str], unsigned: bool
) -> dict[str, str]:
    request = AWSRequest(method, f"http://{HOST}{path}" + (f"?{query}" if query else ""), headers=headers)
    request.context["client_config"] = Config(s3={"payload_signing_enabled": not unsigned})
    moment = dt.datetime.fromtimestamp(MOMENT, dt.UTC).replace(tzinfo=None)
    credentials = BotocoreCredentials(access.access_key, access.secret_key, access.token)
    with patch.object(botocore.auth, "get_current_datetime", lambda: moment):
        botocore.auth.S3SigV4Auth(credentials, "s3", "eu-west-1").add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


@given(
    key=keys,
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE"]),
    query=queries,
    headers=st.dictionaries(header_names, printable, max_size=6),
    token=st.none() | st.just("token/+="),
    unsigned=st.booleans(),
)
@example(key="a", method="PUT", query=[], headers={"x-amz-meta-n": "  a \u00a0 b  c "}, token=None, unsigned=True)
@example(key="a", method="PUT", query=[("uploads", "")], headers={"x-amz-meta-n": "à"}, token="t", unsigned=False)
def test_equals_botocore(
    key: str,
    method: str,
    query: list[tuple[str, str]],
    headers: dict[str, str],
    token: str | None,
    unsigned: bool,
) -> None:
    access = Keys("AKIDEXAMPLE", "secret/+=é", token)
    path, encoded_query = encode_path(f"/bucket/{key}"), encode_query(query)
    expected = botocore_headers(access, method, path, encoded_query, headers, unsigned)
    # botocore is given text and sends UTF-8; the wire is given those bytes as latin-1.
    on_the_wire = [(name, value.encode().decode("latin-1")) for name, value in headers.items()]
    payload = UNSIGNED_PAYLOAD if unsigned else EMPTY_PAYLOAD

    added = dict(
        Signer("eu-west-1", now=lambda: MOMENT).sign(
            access, method=method, host=HOST, path=path, query=encoded_query, headers=on_the_wire, payload=payload
        )
    )

    assert added["authorization"] == expected["authorization"]
    assert added["x-amz-date"] == expected["x-amz-date"]
    assert added["x-amz-content-sha256"] == expected["x-amz-content-sha256"]
    assert added.get("x-amz-security-token") == expected.get("x-amz-security-token")


def test_aws_published_example() -> None:
    """The GET Object example of AWS's documentation of Signature Version 4."""
    access = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    moment = dt.datetime(2013, 5, 24, tzinfo=dt.UTC).timestamp()
    added = dict(
        Signer("us-east-1", now=lambda: moment).sign(
            access,
            method="GET",
            host="examplebucket.s3.amazonaws.com",
            path="/test.txt",
            query="",
            headers=[("range", "bytes=0-9")],
            payload=EMPTY_PAYLOAD,
        )
    )
    assert added["authorization"].endswith("f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")


def test_derived_key_follows_day_and_secret() -> None:
    clock = SimpleNamespace(now=float(MOMENT))
    signer = Signer("eu-west-1", now=lambda: clock.now)

    def signature(secret: str, by: Signer = signer) -> str:
        asked = {"method": "GET", "host": HOST, "path": "/", "query": "", "headers": [], "payload": EMPTY_PAYLOAD}
        return dict(by.sign(Keys("A", secret), **asked))["authorization"]

    first = signature("s1")
    assert signature("s2") != first
    assert signature("s1") == first
    clock.now += 86_400
    tomorrow = signature("s1")
    fresh = Signer("eu-west-1", now=lambda: clock.now)
    assert tomorrow == signature("s1", fresh)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a  b", "a b"),
        ("  a\t", "a"),
        ("", ""),
        ("à".encode().decode("latin-1"), "à".encode().decode("latin-1")),
        ("\xff  \xfe", "\xff \xfe"),
    ],
)
def test_trimmed_keeps_bytes_that_only_look_like_space(value: str, expected: str) -> None:
    assert trimmed(value) == expected


def test_query_is_sorted_by_encoded_name_then_value() -> None:
    assert encode_query([("b", "2"), ("a", "z"), ("a", "b/ +"), ("uploads", "")]) == "a=b%2F%20%2B&a=z&b=2&uploads="


@given(keys)
@example("a+b")
@example("a%2Fb")
def test_path_is_encoded_as_botocore_does(key: str) -> None:
    assert encode_path(key) == percent_encode(key, safe="/~")
