"""Prometheus' own tools, where they are installed (Debian: apt-get install prometheus), on what we export and ask."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from support.corpus import CorpusObject
from support.fault_proxy import FaultProxy
from support.fault_rules import Delay, Rule
from support.operator import Operator
from support.oracle import fill
from support.snapshots import snapshot
from support.watched_run import ended, until

from s3migrate.watching.run_metrics import RunCollector

DEPLOY = Path(__file__).parents[2] / "deploy/prometheus"

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus is not installed"),
]


def promtool(*words: str, given: bytes = b"") -> str:
    """What promtool says; it must be content."""
    ran = subprocess.run(["promtool", *words], input=given, capture_output=True, cwd=DEPLOY)
    said = (ran.stdout + ran.stderr).decode()
    assert ran.returncode == 0, said
    return said


def test_the_rules_are_right_and_fire_when_they_should() -> None:
    assert "5 rules found" in promtool("check", "rules", "alerts.yaml")
    assert "SUCCESS" in promtool("test", "rules", "alerts.test.yaml")


def test_the_metrics_of_a_run_are_as_prometheus_likes_them() -> None:
    registry = CollectorRegistry()
    registry.register(RunCollector([snapshot()]))
    assert promtool("check", "metrics", given=generate_latest(registry)) == ""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def asked(port: int, expression: str) -> list[dict[str, Any]]:
    """What Prometheus answers; [] while it cannot yet."""
    url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found
    except OSError:
        return []


def test_a_real_prometheus_scrapes_an_apply(on_rclone: Operator, seed: int, tmp_path: Path) -> None:
    metrics, prometheus = free_port(), free_port()
    scrape = {"job_name": "apply", "static_configs": [{"targets": [f"127.0.0.1:{metrics}"]}]}
    config = tmp_path / "prometheus.yml"
    config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}))
    objects = [CorpusObject(f"{n:03}", 1000, seed + n) for n in range(120)]
    fill(on_rclone.source.client(), on_rclone.source_bucket, objects)
    with FaultProxy(on_rclone.destination.endpoint_url, seed=seed) as proxy:
        on_rclone.destination_url = proxy.endpoint_url
        on_rclone.declare(limits={"workers": 4})
        on_rclone.plan().ok()
        proxy.rules = [Rule(Delay(0.5), operations=("put",))]
        words = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"]
        words += [f"--web.listen-address=127.0.0.1:{prometheus}"]
        with (
            subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server,
            on_rclone.background("apply", on_rclone.plan_path, "--metrics", f"127.0.0.1:{metrics}") as applying,
        ):
            try:
                until(lambda: bool(asked(prometheus, "s3migrate_concurrency_limit")), applying)
                waits = 's3migrate_thread_seconds_total{waiting_for="destination"} > 0'
                until(lambda: bool(asked(prometheus, waits)), applying)
                answered = asked(prometheus, 's3migrate_request_duration_seconds_count{operation="PutObject"}')
                assert [sample["metric"]["side"] for sample in answered] == ["destination"]
                code, _, err = ended(applying)
                assert code == 0, err
                assert f"metrics at http://127.0.0.1:{metrics}/metrics" in err
            finally:
                server.terminate()
