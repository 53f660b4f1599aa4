"""A run is watched from the ledger: the page, run.json and the metrics say what the ledger says, after its end too."""

from __future__ import annotations

import json
import re
import signal
import urllib.request

from support.corpus import CorpusObject
from support.operator import Operator
from support.oracle import fill


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  of our own server
        return str(answer.read().decode())


def test_the_page_shows_a_run_whose_process_is_gone(on_rclone: Operator, seed: int) -> None:
    objects = [CorpusObject(f"<b>{n}&", 100, seed + n) for n in range(5)]
    fill(on_rclone.source.client(), on_rclone.source_bucket, objects)
    on_rclone.declare()
    on_rclone.plan().ok()
    quiet = on_rclone.run("apply", on_rclone.plan_path, "--quiet").ok()
    assert "accepted" not in quiet.err
    with on_rclone.background("status", "--serve") as serving:
        try:
            assert serving.stderr is not None
            found = re.search(r"http://127\.0\.0\.1:\d+/", serving.stderr.readline())
            assert found is not None
            page = read(f"{found[0]}run/1")
            assert "100.0 %" in page and "5 objects" in page
            assert json.loads(read(f"{found[0]}run.json"))["done"] == 5
            assert 's3migrate_objects{name="photos",run="1",state="done"} 5.0' in read(f"{found[0]}metrics")
            serving.send_signal(signal.SIGINT)
            serving.wait(20)
            assert serving.returncode == 0
        finally:
            serving.kill()


def test_an_address_that_is_none_is_refused(on_rclone: Operator) -> None:
    refused = on_rclone.run("status", "--serve=nowhere:port")
    assert refused.code == 64
    assert "HOST:PORT" in refused.err


def test_metrics_of_several_processes_at_one_address_are_refused(on_rclone: Operator, seed: int) -> None:
    fill(on_rclone.source.client(), on_rclone.source_bucket, [CorpusObject("one", 100, seed)])
    on_rclone.declare()
    on_rclone.plan().ok()
    refused = on_rclone.run("apply", on_rclone.plan_path, "--metrics", "0", "--processes", "2")
    assert refused.code == 64
    assert "an address of its own" in refused.err
