"""F8: each mistake in a declaration has one sentence, its own exit code, and a control; and no answer ends in 1."""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.corpus import mixed
from support.operator import Operator
from support.oracle import fill
from support.quirk_proxy import QuirkProxy, Refuses, Which

from schema import errors
from schema.errors import StoreError
from storage.credentials import resolve_credentials
from storage.wire.codes import BY_CODE, BY_STATUS
from storage.wire.errors import Call, Purpose, from_answer, from_error_document, from_exchange
from storage.wire.exchange import ExchangeFailed, Fault

GO_SAYS = b"Client sent an HTTP request to an HTTPS server.\n"
NGINX_SAYS = b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>"
APACHE_SAYS = b"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />"


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A port that hears some bytes of each connection, says *answer* and closes."""

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.recv(65_536)
                client.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@pytest.fixture
def filled(on_rclone: Operator, seed: int) -> Operator:
    """Some objects to plan for, on a server that wants keys."""
    fill(on_rclone.source.client(), on_rclone.source_bucket, mixed(seed, 3, largest=100, tags=False))
    return on_rclone


def test_control_the_plan_is_made(filled: Operator) -> None:
    assert filled.plan().code == 0


@pytest.mark.parametrize("words", [GO_SAYS, NGINX_SAYS, APACHE_SAYS], ids=["go", "nginx", "apache"])
@pytest.mark.parametrize("side", ["source", "destination"])
def test_http_to_a_tls_port_is_68(filled: Operator, words: bytes, side: str) -> None:
    answer = b"HTTP/1.0 400 Bad Request\r\nContent-Length: %d\r\n\r\n" % len(words)
    with answering(answer + words) as port:
        filled.declare(**{side: {"endpoint_url": f"http://127.0.0.1:{port}"}})
        ran = filled.plan()
    assert ran.code == 68, ran.err
    assert f"127.0.0.1:{port}" in ran.err and "write https:// in endpoint_url" in ran.err
    assert "canaries" not in ran.err


def test_https_to_a_plain_port_is_68(filled: Operator) -> None:
    filled.declare(source={"endpoint_url": filled.source.endpoint_url.replace("http://", "https://")})
    ran = filled.plan()
    assert ran.code == 68, ran.err
    assert "write http:// in endpoint_url" in ran.err and "ca_bundle" not in ran.err


def test_anonymous_where_keys_are_wanted_is_77(filled: Operator) -> None:
    for side in ("source", "destination"):
        filled.declare(**{side: {"credentials": {"anonymous": True}}})
        ran = filled.plan()
        assert ran.code == 77, ran.err
        assert "name keys instead of credentials: {anonymous: true}" in ran.err


def refused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.usefixtures("brief_waits")
@pytest.mark.parametrize(("host", "side"), [("127.0.0.1", "destination"), ("no-such-host.invalid", "source")])
def test_an_endpoint_that_is_not_there_is_69_and_nothing_was_written(filled: Operator, host: str, side: str) -> None:
    filled.declare(**{side: {"endpoint_url": f"http://{host}:{refused_port()}"}})
    ran = filled.plan()
    assert ran.code == 69, ran.err
    assert "check endpoint_url" in ran.err
    assert "canaries" not in ran.err


def test_control_canaries_that_were_written_are_named(on_moto: Operator, seed: int) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, mixed(seed, 3, largest=100))
    refused = (
        Refuses(403, "InvalidAccessKeyId", Which(("put",)), after=4),
        Refuses(403, "AccessDenied", Which(("delete", "delete-many")), after=1),
    )
    with QuirkProxy(on_moto.destination.endpoint_url, *refused) as proxy:
        on_moto.destination_url = proxy.endpoint_url
        ran = on_moto.plan()
    assert ran.code == 77
    assert "canaries could not all be removed" in ran.err


def test_explain_of_an_unknown_key_is_66(filled: Operator) -> None:
    assert filled.plan().code == 0
    ran = filled.run("explain", "nobody/knows")
    assert (ran.code, "in no manifest" in ran.err) == (66, True)
    key = next(iter(filled.source_side.client.list_objects_v2(Bucket=filled.source_bucket)["Contents"]))["Key"]
    assert filled.run("explain", key).code == 0
    assert "66" in (Path(__file__).parents[2] / "README.md").read_text().split("| `explain KEY")[1].splitlines()[0]


@pytest.mark.parametrize(
    ("present", "words"),
    [
        ({}, "environment variables P_AWS_ACCESS_KEY_ID and P_AWS_SECRET_ACCESS_KEY are not set; export them"),
        ({"P_AWS_ACCESS_KEY_ID": "a"}, "environment variable P_AWS_SECRET_ACCESS_KEY is not set; export it"),
    ],
)
def test_variables_that_are_not_set(present: dict[str, str], words: str) -> None:
    with pytest.raises(errors.CredentialsRefused, match=words):
        resolve_credentials({"env": "P"}, environ=present)
    resolve_credentials({"env": "P"}, environ={"P_AWS_ACCESS_KEY_ID": "a", "P_AWS_SECRET_ACCESS_KEY": "b"})


# --- no answer ends in 1 -------------------------------------------------------------------------------------

STATUSES = sorted(
    {*BY_STATUS, 100, 200, 204, 300, 304, 400, 402, 404, 405, 409, 410, 412, 416, 418, 422, 500, 502, 504}
)
CODES = ["", "NobodyKnowsThisCode", *sorted(BY_CODE)]
WORDS = ["", "Bucket quota exceeded", "UNSIGNED-PAYLOAD is not supported"]


def walk(purpose: Purpose, key: str) -> Iterator[StoreError]:
    """Every code at every status, with and without a body (as a HEAD), from either end, signed or not."""
    for status, code, words in itertools.product(STATUSES, CODES, WORDS):
        body = f"<Error><Code>{code}</Code><Message>{words}</Message></Error>".encode() if code or words else b""
        for anonymous, guarded in itertools.product((False, True), repeat=2):
            call = Call(
                "Operation",
                purpose,
                "bucket",
                "http://endpoint",
                key,
                guarded,
                side=errors.WhichSide.SOURCE,
                anonymous=anonymous,
                unsigned_payload=not anonymous and purpose in (Purpose.WRITE, Purpose.UPLOAD),
            )
            yield from_answer(status, {}, body, call=call)
            if status == 200:
                yield from_error_document({}, body, call)


@pytest.mark.parametrize("purpose", list(Purpose))
@pytest.mark.parametrize("key", ["", "k"])
def test_every_code_at_every_status_has_a_leaf_and_no_exit_1(purpose: Purpose, key: str) -> None:
    seen = set()
    for error in walk(purpose, key):
        seen.add(type(error))
        assert error.exit_code in {4, 68, 69, 76, 77}, (type(error), str(error))
        assert isinstance(error.retryable, bool)
        assert purpose is Purpose.COPY or error.side is errors.WhichSide.SOURCE
    assert len(seen) > 10


def test_every_fault_of_an_exchange_has_a_leaf_and_no_exit_1() -> None:
    call = Call("GetObject", Purpose.READ, "bucket", "https://endpoint", "k")
    for fault in Fault:
        for words in ("", "certificate has expired", "wrong version number"):
            assert from_exchange(ExchangeFailed(fault, words, 0.0), call).exit_code in {68, 69, 71, 76, 77}


def test_every_leaf_of_a_store_has_an_exit_code_of_its_own() -> None:
    def below(kind: type[StoreError]) -> Iterator[type[StoreError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from below(child)

    assert [leaf.__name__ for leaf in below(StoreError) if leaf is not StoreError and leaf.exit_code == 1] == []


def test_the_words_of_tls_libraries_are_told_apart() -> None:
    """What Python's own TLS says of a plain port is among them, as an example that is not made up."""
    with answering(b"HTTP/1.0 400 Bad Request\r\n\r\n") as port, socket.create_connection(("127.0.0.1", port)) as plain:
        with pytest.raises(ssl.SSLError) as caught:
            ssl.create_default_context().wrap_socket(plain, server_hostname="x")
        call = Call("GetObject", Purpose.READ, "bucket", "https://endpoint", "k")
        assert (
            type(from_exchange(ExchangeFailed(Fault.TLS_BROKEN, str(caught.value).replace("_", " "), 0.0), call))
            is errors.WrongScheme
        )
