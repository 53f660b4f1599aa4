"""The fault proxy does what its rules say, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, IncompleteRead
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from support.fault_process import FaultProxyProcess
from support.fault_proxy import FaultProxy
from support.fault_rules import (
    Bandwidth,
    Delay,
    EnforceChecksums,
    EnforceConditions,
    FlipBit,
    IgnoreConditions,
    Overlong,
    RateLimit,
    Request,
    Reset,
    Rule,
    RuleBook,
    Truncate,
    clock_skewed,
    expired_token,
    lying_empty,
    lying_error,
    lying_html,
    parse_request,
    slow_down,
    too_many_requests,
)
from support.servers import RcloneServer, s3_client

BODY = bytes(range(256)) * 40


class Server(ThreadingHTTPServer):
    """Stores what is PUT and tells what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {"/b/key": BODY}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.connections = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def _answer(self, body: bytes, length: int | None = None) -> None:
        self.server.asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        self.send_response(200)
        if self.path.endswith("chunked"):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            return
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._answer(self.server.objects.get(self.path.partition("?")[0], BODY))

    def do_HEAD(self) -> None:
        self._answer(b"", len(BODY))

    def do_PUT(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.objects[self.path] = body
        self._answer(b"")

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def waited() -> list[float]:
    return []


@pytest.fixture
def proxy(server: Server, seed: int, waited: list[float]) -> Iterator[FaultProxy]:
    with FaultProxy(f"http://127.0.0.1:{server.server_port}", seed=seed, wait=waited.append) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[HTTPConnection]:
    where = urlsplit(proxy.endpoint_url)
    connection = HTTPConnection(str(where.hostname), where.port, timeout=10)
    yield connection
    connection.close()


def ask(
    client: HTTPConnection, method: str = "GET", path: str = "/b/key", body: bytes | None = None, **headers: str
) -> tuple[int, bytes]:
    client.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
    answer = client.getresponse()
    return answer.status, answer.read()


class TestWithoutRules:
    def test_requests_pass_unchanged_over_one_kept_alive_connection(
        self, server: Server, client: HTTPConnection
    ) -> None:
        for _ in range(3):
            assert ask(client, Host="the.signed.host:9", x_amz_date="now") == (200, BODY)
        assert ask(client, "PUT", "/b/a%2F%2e%2e//x?partNumber=1", b"abc") == (200, b"")

        assert server.asked[0][2]["host"] == "the.signed.host:9"
        assert server.asked[-1][:2] == ("PUT", "/b/a%2F%2e%2e//x?partNumber=1")
        assert server.objects["/b/a%2F%2e%2e//x?partNumber=1"] == b"abc"
        assert server.connections == 1

    def test_the_history_tells_each_exchange(self, proxy: FaultProxy, client: HTTPConnection) -> None:
        ask(client, "PUT", "/b/new%20key", b"12345")
        ask(client)
        ask(client, "HEAD")

        told = [(e.operation, e.bucket, e.key, e.status, e.request_bytes, e.response_bytes) for e in proxy.history]
        assert told == [
            ("put", "b", "new key", 200, 5, 0),
            ("get", "b", "key", 200, 0, len(BODY)),
            ("head", "b", "key", 200, 0, 0),
        ]
        assert proxy.count("get") == 1
        assert (proxy.peak_in_flight, proxy.peak_connections) == (1, 1)

    def test_chunked_bodies_pass_both_ways(self, server: Server, client: HTTPConnection) -> None:
        client.request("PUT", "/b/stream", iter([b"ab", b"cde"]), encode_chunked=True)
        client.getresponse().read()

        assert server.objects["/b/stream"] == b"abcde"
        assert ask(client, path="/b/chunked") == (200, BODY)

    def test_expect_continue_is_answered(self, server: Server, client: HTTPConnection) -> None:
        assert ask(client, "PUT", "/b/k", b"abc", Expect="100-continue")[0] == 200
        assert server.objects["/b/k"] == b"abc"

    def test_many_clients_at_once(self, proxy: FaultProxy) -> None:
        where = urlsplit(proxy.endpoint_url)

        def fetch(_: int) -> bool:
            client = HTTPConnection(str(where.hostname), where.port, timeout=30)
            same = all(ask(client)[1] == BODY for _ in range(10))
            client.close()
            return same

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(fetch, range(32)))
        assert proxy.count("get", status=200) == 320


class TestAnswersInstead:
    @pytest.mark.parametrize(
        ("action", "status", "part"),
        [
            (slow_down(), 503, b"SlowDown"),
            (too_many_requests(2), 429, b"TooMany"),
            (expired_token(), 400, b"ExpiredToken"),
            (clock_skewed(), 403, b"RequestTimeTooSkewed"),
            (lying_empty(), 200, b""),
            (lying_html(), 200, b"<html>"),
            (lying_error(), 200, b"<Error><Code>InternalError"),
        ],
    )
    def test_the_server_never_hears_of_it(
        self, server: Server, proxy: FaultProxy, client: HTTPConnection, action: object, status: int, part: bytes
    ) -> None:
        proxy.rules = [Rule(action)]  # type: ignore[arg-type]

        answered, body = ask(client, "PUT", "/b/k", b"abc")

        assert (answered, part in body, server.asked) == (status, True, [])
        proxy.rules = []
        assert ask(client) == (200, BODY)  # the connection is still good

    def test_retry_after_is_told(self, proxy: FaultProxy, client: HTTPConnection) -> None:
        proxy.rules = [Rule(slow_down(retry_after=2))]
        client.request("GET", "/b/key")
        answer = client.getresponse()

        assert (answer.read(), answer.headers["Retry-After"])[1] == "2"

    def test_a_head_gets_no_body(self, proxy: FaultProxy, client: HTTPConnection) -> None:
        proxy.rules = [Rule(slow_down(), times=1)]

        assert ask(client, "HEAD") == (503, b"")
        assert ask(client) == (200, BODY)

    def test_after_the_server_acted(self, server: Server, proxy: FaultProxy, client: HTTPConnection) -> None:
        proxy.rules = [Rule(lying_error(forward=True))]

        assert b"<Error>" in ask(client, "PUT", "/b/k", b"abc")[1]
        assert server.objects["/b/k"] == b"abc"
        assert (proxy.history[0].status, proxy.history[0].upstream_status) == (200, 200)

    def test_an_upstream_whose_answer_was_kept_back_is_not_asked_again(
        self, server: Server, proxy: FaultProxy, client: HTTPConnection
    ) -> None:
        """It may have said that it closes; werkzeug does, and reads away what comes after it."""
        proxy.rules = [Rule(lying_error(forward=True), times=1)]

        ask(client, "PUT", "/b/k", b"abc")
        assert ask(client) == (200, BODY)
        assert server.connections == 2


class TestConnections:
    def test_reset_before_the_server_heard(self, server: Server, proxy: FaultProxy, client: HTTPConnection) -> None:
        proxy.rules = [Rule(Reset())]

        with pytest.raises(ConnectionError):
            ask(client, "PUT", "/b/k", b"abc")
        assert server.asked == []
        assert proxy.history[0].status == 0

    def test_reset_after_the_server_acted(self, server: Server, proxy: FaultProxy, client: HTTPConnection) -> None:
        proxy.rules = [Rule(Reset(after=True))]

        with pytest.raises(ConnectionError):
            ask(client, "PUT", "/b/k", b"abc")
        assert server.objects["/b/k"] == b"abc"
        assert (proxy.history[0].status, proxy.history[0].upstream_status) == (0, 200)

    def test_leaving_cuts_what_is_open(self, server: Server) -> None:
        with FaultProxy(f"http://127.0.0.1:{server.server_port}") as proxy:
            client = HTTPConnection("127.0.0.1", urlsplit(proxy.endpoint_url).port, timeout=10)
            ask(client)
        with pytest.raises((ConnectionError, OSError)):
            ask(client)
        client.close()


class TestBodies:
    def test_truncated_under_the_full_length(self, proxy: FaultProxy, client: HTTPConnection) -> None:
        proxy.rules = [Rule(Truncate(0.25))]

        with pytest.raises(IncompleteRead) as short:
            ask(client)
        assert (len(short.value.partial), short.value.expected) == (len(BODY) // 4, len(BODY) * 3 // 4)

    def test_overlong(self, proxy: FaultProxy, client: HTTPConnection) -> None:
        proxy.rules = [Rule(Overlong(3))]

        assert ask(client) == (200, BODY + b"xxx")

    @pytest.mark.parametrize("path", ["/b/key", "/b/chunked"])
    def test_one_bit_flips_on_the_way_down(self, proxy: FaultProxy, client: HTTPConnection, path: str) -> None:
        proxy.rules = [Rule(FlipBit())]

        damaged = ask(client, path=path)[1]

        assert sum((a ^ b).bit_count() for a, b in zip(damaged, BODY, strict=True)) == 1

    def test_one_bit_flips_on_the_way_up(self, server: Server, proxy: FaultProxy, client: HTTPConnection) -> None:
        proxy.rules = [Rule(FlipBit(upload=True))]

        ask(client, "PUT", "/b/k", BODY)

        assert sum((a ^ b).bit_count() for a, b in zip(server.objects["/b/k"], BODY, strict=True)) == 1

    def test_bandwidth_is_time_by_bytes(self, proxy: FaultProxy, client: HTTPConnection, waited: list[float]) -> None:
        proxy.rules = [Rule(Bandwidth(1024))]
        assert ask(client) == (200, BODY)
        assert sum(waited) == pytest.approx(10.0)

    def test_drip(self, proxy: FaultProxy, client: HTTPConnection, waited: list[float]) -> None:
        proxy.rules = [Rule(Bandwidth(1, chunk=1, upload=True))]
        ask(client, "PUT", "/b/k", b"abc")
        assert waited == [1.0, 1.0, 1.0]

    def test_delay_with_jitter(self, proxy: FaultProxy, client: HTTPConnection, waited: list[float]) -> None:
        proxy.rules = [Rule(Delay(5, jitter=1))]
        ask(client)
        assert 5 <= waited[0] <= 6


class TestEnforcement:
    def test_a_wrong_checksum_never_reaches_the_server(
        self, server: Server, proxy: FaultProxy, client: HTTPConnection
    ) -> None:
        proxy.rules = [Rule(EnforceChecksums())]
        right = base64.b64encode(hashlib.md5(b"abc").digest()).decode()

        assert ask(client, "PUT", "/b/k", b"abc", Content_MD5=right)[0] == 200
        assert ask(client, "PUT", "/b/k", b"abd", Content_MD5=right)[0] == 400
        assert ask(client, "PUT", "/b/k", b"123456789", x_amz_checksum_crc64nvme="rosUhgp5mIg=")[0] == 200
        assert ask(client, "PUT", "/b/k", b"12345678", x_amz_checksum_crc64nvme="rosUhgp5mIg=")[0] == 400
        assert server.objects["/b/k"] == b"123456789"

    def test_flips_are_caught_where_both_are_on(self, proxy: FaultProxy, client: HTTPConnection) -> None:
        proxy.rules = [Rule(FlipBit(upload=True)), Rule(EnforceChecksums())]

        status, body = ask(client, "PUT", "/b/k", b"123456789", x_amz_checksum_crc64nvme="rosUhgp5mIg=")

        assert (status, b"BadDigest" in body) == (400, True)

    def test_conditions_can_be_dropped(self, server: Server, proxy: FaultProxy, client: HTTPConnection) -> None:
        proxy.rules = [Rule(IgnoreConditions())]
        ask(client, "PUT", "/b/k", b"", If_None_Match="*")
        assert "if-none-match" not in server.asked[0][2]

    def test_conditions_are_enforced_before_a_server_that_signs(
        self, rclone_server: RcloneServer, bucket_name: str
    ) -> None:
        """Through a signature-checking server: proof too that the Host header is left alone."""
        rclone_server.create_bucket(bucket_name)
        keys = (rclone_server.access_key, rclone_server.secret_key)
        with FaultProxy(rclone_server.endpoint_url, credentials=keys) as proxy:
            proxy.rules = [Rule(EnforceConditions())]
            client = s3_client(proxy.endpoint_url)
            etag = client.put_object(Bucket=bucket_name, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
            with pytest.raises(client.exceptions.ClientError, match="PreconditionFailed"):
                client.put_object(Bucket=bucket_name, Key="k", Body=b"2", IfNoneMatch="*")
            with pytest.raises(client.exceptions.ClientError, match="PreconditionFailed"):
                client.put_object(Bucket=bucket_name, Key="k", Body=b"2", IfMatch='"0"')
            with pytest.raises(client.exceptions.ClientError, match="NoSuchKey"):
                client.put_object(Bucket=bucket_name, Key="missing", Body=b"2", IfMatch=etag)
            assert client.get_object(Bucket=bucket_name, Key="k")["Body"].read() == b"1"
            client.put_object(Bucket=bucket_name, Key="k", Body=b"3", IfMatch=etag)
            assert client.get_object(Bucket=bucket_name, Key="k")["Body"].read() == b"3"
            client.close()


class TestRules:
    def strikes(self, rule: Rule, requests: list[Request], seed: int = 0) -> list[int]:
        book = RuleBook([rule], seed, lambda: 0.0)
        return [i for i, request in enumerate(requests) if book.strike(request)]

    def gets(self, *keys: str) -> list[Request]:
        return [parse_request("GET", f"/b/{key}", {}) for key in keys]

    def test_nth_skip_and_times(self) -> None:
        requests = self.gets(*"aaaaaa")
        assert self.strikes(Rule(Reset(), nth=3), requests) == [2]
        assert self.strikes(Rule(Reset(), skip=4), requests) == [4, 5]
        assert self.strikes(Rule(Reset(), times=2), requests) == [0, 1]

    def test_per_key_counts_each_request_by_itself(self) -> None:
        assert self.strikes(Rule(Reset(), times=1, per_key=True), self.gets(*"abab")) == [0, 1]

    def test_selectors(self) -> None:
        requests = [*self.gets("alpha", "beta"), parse_request("PUT", "/b/alpha", {})]
        assert self.strikes(Rule(Reset(), operations=("get",)), requests) == [0, 1]
        assert self.strikes(Rule(Reset(), methods=("PUT",)), requests) == [2]
        assert self.strikes(Rule(Reset(), key="et"), requests) == [1]
        with pytest.raises(ValueError, match="no such operations"):
            Rule(Reset(), operations=("fetch",))

    def test_chance_depends_on_the_seed_and_not_on_the_order(self) -> None:
        keys = [f"k{i}" for i in range(400)]
        shuffled = random.Random(1).sample(keys, len(keys))
        rule = Rule(Reset(), probability=0.3)

        struck = {keys[i] for i in self.strikes(rule, self.gets(*keys), seed=1)}

        assert struck == {shuffled[i] for i in self.strikes(rule, self.gets(*shuffled), seed=1)}
        assert struck != {keys[i] for i in self.strikes(rule, self.gets(*keys), seed=2)}
        assert 80 < len(struck) < 160

    def test_a_rate_limit_is_a_token_bucket(self) -> None:
        now = [0.0]
        book = RuleBook([Rule(RateLimit(10, burst=2))], 0, lambda: now[0])
        request = self.gets("a")[0]

        assert [bool(book.strike(request)) for _ in range(3)] == [False, False, True]
        now[0] = 0.1
        assert [bool(book.strike(request)) for _ in range(2)] == [False, True]

    @pytest.mark.parametrize(
        ("method", "target", "headers", "operation"),
        [
            ("GET", "/b?list-type=2&prefix=x", {}, "list"),
            ("GET", "/b/", {}, "list"),
            ("GET", "/b?versions&prefix=", {}, "list-versions"),
            ("GET", "/b?uploads", {}, "list-uploads"),
            ("GET", "/b?versioning", {}, "bucket"),
            ("PUT", "/b", {}, "bucket"),
            ("POST", "/b?delete", {}, "delete-many"),
            ("GET", "/", {}, "service"),
            ("GET", "/b/k?tagging", {}, "tag"),
            ("GET", "/b/k?uploadId=1", {}, "list-parts"),
            ("POST", "/b/k?uploads", {}, "create"),
            ("POST", "/b/k?uploads=", {}, "create"),
            ("PUT", "/b/k?partNumber=1&uploadId=u", {}, "part"),
            ("PUT", "/b/k?partNumber=1&uploadId=u", {"x-amz-copy-source": "/a/b"}, "part-copy"),
            ("POST", "/b/k?uploadId=u", {}, "complete"),
            ("DELETE", "/b/k?uploadId=u", {}, "abort"),
            ("PUT", "/b/k", {"x-amz-copy-source": "/a/b"}, "copy"),
            ("PUT", "/b/k?acl", {}, "other"),
            ("DELETE", "/b/k?versionId=3", {}, "delete"),
        ],
    )
    def test_operations(self, method: str, target: str, headers: dict[str, str], operation: str) -> None:
        assert parse_request(method, target, headers).operation == operation

    def test_rules_survive_the_control_file(self) -> None:
        rule = Rule(slow_down(1), operations=("get", "put"), key="é", times=3, probability=0.5)
        assert Rule.from_json(rule.to_json()) == rule


def test_the_proxy_as_a_process(server: Server) -> None:
    with FaultProxyProcess(f"http://127.0.0.1:{server.server_port}", seed=1) as proxy:
        client = HTTPConnection("127.0.0.1", urlsplit(proxy.endpoint_url).port, timeout=10)
        assert ask(client) == (200, BODY)
        proxy.set_rules([Rule(slow_down(), operations=("get",))])
        assert ask(client)[0] == 503
        client.close()
        while len(proxy.history()) < 2:
            threading.Event().wait(0.01)
        assert [e.status for e in proxy.history()] == [200, 503]
