"""Does planning stay in constant memory? 20,000 against 20,000 keys, then 200,000 against 200,000.

Both listings come from bench.listing_server in processes of their own (no objects exist); half of the keys differ.
    python -m bench.plan_scale [COUNT ...]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from support.servers import MotoServer, S3Server, rclone_binary

from bench import ROOT
from bench.beds import Ends, LeanServer, lean_binary
from bench.contestants import declaration, environment, losses_of, ours
from bench.measure import CommandFailed, EmbeddedLedger, Measured, run, run_or_fail
from bench.workloads import BUCKET

COUNTS = (20_000, 200_000)
ALLOWED_GROWTH_MIB = 20
MIB = 1 << 20


class ListingProcess(S3Server):
    """bench.listing_server over *upstream*."""

    kind = "listing"

    def __init__(self, upstream: S3Server, keys: int, differ_every: int) -> None:
        super().__init__()
        self._upstream = upstream
        self._arguments = ["--keys", str(keys), "--differ-every", str(differ_every)]

    def _command(self) -> list[str]:
        program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import bench.listing_server as s; s.main()"
        return [sys.executable, "-c", program, "--upstream", self._upstream.endpoint_url, *self._arguments]


class MadeUp:
    """moto with an empty bucket, and two made-up listings before it."""

    def __init__(self, keys: int) -> None:
        self._keys = keys
        self._moto = MotoServer()

    def __enter__(self) -> Self:
        self._moto.__enter__()
        self._moto.create_bucket(BUCKET)
        self.source = ListingProcess(self._moto, self._keys, 0).__enter__()
        self.destination = ListingProcess(self._moto, self._keys, 2).__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.destination.stop()
        self.source.stop()
        self._moto.stop()


def measure_plan(keys: int) -> dict[str, Any]:
    """Plan *keys* against as many; seconds and the peak of resident memory."""
    folder = Path(tempfile.mkdtemp(prefix="s3migrate-plan-"))
    try:
        with MadeUp(keys) as made_up:
            ends = Ends(made_up.source, made_up.destination, None)
            words = environment(ends) | {"S3MIGRATE_HOME": str(folder / ".s3migrate")}
            written = declaration(ends, {}, ())
            (folder / "migration.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
            command = [ours(), "plan", "migration.yaml", "-o", "bench.plan.yaml"]
            measured = run(command, folder, words, folder / "log")
            if measured.exit_code not in (0, 2):
                raise CommandFailed(f"plan exited {measured.exit_code}:\n{(folder / 'log').read_text()[-3000:]}")
            return {
                "keys": keys,
                "wall_seconds": measured.wall,
                "cpu_seconds": measured.cpu,
                "peak_rss_mib": measured.peak_rss / MIB,
                "plan_lines": len((folder / "bench.plan.yaml").read_text().splitlines()),
                "losses": losses_of(folder / "bench.plan.yaml"),
            }
    finally:
        EmbeddedLedger(folder / ".s3migrate").stop()
        shutil.rmtree(folder, ignore_errors=True)


def measure_plans(counts: Sequence[int]) -> dict[str, Any]:
    """Plans of growing size, and by how much memory grew from the first to the last. Prints as it goes."""
    print("\nplan: keys against as many keys, half of them different", flush=True)
    rows = []
    for count in counts:
        row = measure_plan(count)
        rows.append(row)
        print(
            f"  {count:>9,} x {count:<9,} {row['wall_seconds']:7.2f} s  {row['cpu_seconds']:7.2f} CPU s  "
            f"{row['peak_rss_mib']:6.0f} MiB  {row['plan_lines']} lines of plan",
            flush=True,
        )
    growth = rows[-1]["peak_rss_mib"] - rows[0]["peak_rss_mib"]
    print(f"  memory grew by {growth:.0f} MiB (allowed: {ALLOWED_GROWTH_MIB})", flush=True)
    return {"rows": rows, "growth_mib": growth}


def measure_beside_rclone(keys: int, rounds: int = 3) -> list[dict[str, Any]]:
    """Plan *keys* equal keys on two lean servers, and rclone's dry run of the same, alternating. Prints as it goes."""
    rows: list[dict[str, Any]] = []
    preload = ["--preload", f"{keys}:100:1000"]
    print(f"\nplan: {keys:,} x {keys:,} equal keys, beside rclone's dry run", flush=True)
    with LeanServer(preload, None) as source, LeanServer(preload, None) as destination:
        ends = Ends(source, destination, None)
        for _ in range(rounds):
            for name in ("s3migrate", "rclone"):
                measured = _planned(ends) if name == "s3migrate" else _dry_run(ends)
                row = {"name": name, "keys": keys, "wall_seconds": measured.wall, "cpu_seconds": measured.cpu}
                rows.append(row | {"peak_rss_mib": measured.peak_rss / MIB})
                print(
                    f"  {name:10} {measured.wall:7.2f} s {measured.cpu:7.2f} CPU s {measured.peak_rss / MIB:6.0f} MiB",
                    flush=True,
                )
    return rows


def _planned(ends: Ends) -> Measured:
    folder = Path(tempfile.mkdtemp(prefix="s3migrate-plan-"))
    try:
        (folder / "migration.yaml").write_text(yaml.safe_dump(declaration(ends, {}, ()), sort_keys=False))
        words = environment(ends) | {"S3MIGRATE_HOME": str(folder / ".s3migrate")}
        return run_or_fail([ours(), "plan", "migration.yaml", "-o", "bench.plan.yaml"], folder, words, folder / "log")
    finally:
        EmbeddedLedger(folder / ".s3migrate").stop()
        shutil.rmtree(folder, ignore_errors=True)


def _dry_run(ends: Ends) -> Measured:
    folder = Path(tempfile.mkdtemp(prefix="s3migrate-plan-"))
    flags = ["--dry-run", "--size-only", "--checkers", "32", "--config", ""]
    try:
        command = [rclone_binary(), "copy", f"src:{BUCKET}", f"dst:{BUCKET}", *flags]
        return run_or_fail(command, folder, environment(ends), folder / "log")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Exit code 1 when memory grew too much."""
    counts = [int(word) for word in sys.argv[1:]] or list(COUNTS)
    if lean_binary() is not None:
        measure_beside_rclone(counts[-1])
    return 0 if measure_plans(counts)["growth_mib"] <= ALLOWED_GROWTH_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
