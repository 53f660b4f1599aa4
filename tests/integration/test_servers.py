"""The test servers are what the other tests believe them to be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from support import strict_server
from support.servers import RcloneServer, S3Server, ServerFailed, s3_client


@pytest.fixture(params=["moto_server", "rclone_server"])
def server(request: pytest.FixtureRequest) -> S3Server:
    """Each kind of server."""
    return request.getfixturevalue(request.param)


def test_an_object_comes_back_with_its_metadata(server: S3Server, bucket_name: str) -> None:
    server.create_bucket(bucket_name)
    server.client().put_object(
        Bucket=bucket_name, Key="a/b", Body=b"abc", ContentType="text/x-odd", Metadata={"k": "v"}
    )

    answer = server.client().get_object(Bucket=bucket_name, Key="a/b")

    assert answer["Body"].read() == b"abc"
    assert answer["ContentType"] == "text/x-odd"
    assert {k.lower(): v for k, v in answer["Metadata"].items()} == {"k": "v"}


def test_rclone_checks_signatures(rclone_server: RcloneServer) -> None:
    client = s3_client(rclone_server.endpoint_url, secret_key="wrong")

    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        client.list_buckets()
    client.close()


def test_rclone_takes_a_subresource_for_the_object_itself(rclone_server: RcloneServer, bucket_name: str) -> None:
    """Why nothing may put tags or an ACL on an endpoint that was not seen to keep them."""
    client = rclone_server.client()
    rclone_server.create_bucket(bucket_name)
    client.put_object(Bucket=bucket_name, Key="k", Body=b"content")

    client.put_object_tagging(Bucket=bucket_name, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})

    assert client.get_object(Bucket=bucket_name, Key="k")["Body"].read().startswith(b"<Tagging")


def test_two_rclone_servers_do_not_share_a_folder(
    rclone_servers: tuple[RcloneServer, RcloneServer], bucket_name: str
) -> None:
    source, destination = rclone_servers

    source.create_bucket(bucket_name)

    assert bucket_name not in {b["Name"] for b in destination.client().list_buckets()["Buckets"]}


def test_a_server_dies_with_the_process_that_started_it() -> None:
    """Also when that process is killed and cannot clean up."""
    program = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); from support.servers import RcloneServer\n"
        "server = RcloneServer().__enter__(); print(server.pid, server.folder, server.log.parent, flush=True)\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(Path(__file__).parents[1])], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid, folder, scratch = parent.stdout.readline().split()

    parent.send_signal(signal.SIGKILL)
    parent.communicate()

    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        os.sched_yield()
    assert not Path(f"/proc/{pid}").exists()
    Path(folder).rmdir()
    (Path(scratch) / "log").unlink()
    Path(scratch).rmdir()


def test_a_paused_server_answers_again_when_resumed(bucket_name: str) -> None:
    with RcloneServer() as server:
        server.pause()
        state = Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        server.resume()

        assert server.create_bucket(bucket_name) == bucket_name
        assert state == "T"


def test_a_strict_server_that_is_not_installed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_server, "PYTHON", tmp_path / "python")
    with pytest.raises(ServerFailed, match="make strict"), strict_server.StrictServer():
        pass
