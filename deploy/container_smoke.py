"""Build the container and let it move a bucket: plan, apply, verify, as uid 10001 without network beyond this machine.

    python deploy/container_smoke.py                 # on a Debian base made here by mmdebstrap; needs root and buildah
    python deploy/container_smoke.py --base IMAGE    # on an image of yours

Prints each command and its exit code; ends with 0 when all were 0.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

IMAGE = "localhost/s3migrate:smoke"
BASE = "localhost/s3migrate-base:bookworm"
BUILDAH = ("buildah", "--log-level", "error")


def ran(*words: str, **more: object) -> str:
    """Standard output of a command that must succeed."""
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, **more).stdout.strip()  # type: ignore[call-overload,no-any-return]


def make_base() -> str:
    """Debian's Python and nothing else, where no registry can be reached."""
    with tempfile.TemporaryDirectory() as folder:
        packages = "python3,python3-venv,ca-certificates"
        ran("mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}", "bookworm", f"{folder}/root")
        made = ran(*BUILDAH, "from", "scratch")
        ran(*BUILDAH, "add", "--quiet", made, f"{folder}/root", "/")
        ran(*BUILDAH, "commit", "--quiet", "--rm", made, BASE)
    return BASE


def build(base: str) -> None:
    """The image of the Containerfile, with this machine's package index and certificate authorities."""
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    given = [word for name, value in pip.items() for word in ("--env", f"{name}={value}")]
    ran(
        *(*BUILDAH, "build", "--quiet", "--isolation", "chroot", "--network", "host", "--build-arg", f"BASE={base}"),
        *("--volume", "/etc/ssl/certs:/etc/ssl/certs:ro", *given, "--tag", IMAGE),
        *("--file", str(ROOT / "deploy" / "Containerfile"), str(ROOT)),
    )


@contextmanager
def container() -> Iterator[str]:
    """A container of the image, removed at the end."""
    name = ran(*BUILDAH, "from", IMAGE)
    try:
        yield name
    finally:
        ran(*BUILDAH, "rm", name)


def move(name: str) -> int:
    """The worst exit code of plan, apply, verify and plan again, over two servers of the test bed."""
    from support.corpus import mixed
    from support.oracle import fill
    from support.servers import ACCESS_KEY, SECRET_KEY, RcloneServer

    with tempfile.TemporaryDirectory() as folder, RcloneServer() as old, RcloneServer() as new:
        for server, bucket in ((old, "old"), (new, "new")):
            server.client().create_bucket(Bucket=bucket)
        fill(old.client(), "old", mixed(1, 200, largest=100_000, tags=False))
        Path(folder).chmod(0o777)
        ends = "".join(
            f"{side}: {{bucket: {bucket}, endpoint_url: {server.endpoint_url}, credentials: {{env: BED}}}}\n"
            for side, bucket, server in (("source", "old", old), ("destination", "new", new))
        )
        head = "apiVersion: s3migrate/v1\nkind: Migration\nname: smoke\n"
        (Path(folder) / "migration.yaml").write_text(head + ends)
        keys = ("--env", f"BED_AWS_ACCESS_KEY_ID={ACCESS_KEY}", "--env", f"BED_AWS_SECRET_ACCESS_KEY={SECRET_KEY}")
        worst = 0
        for words in (
            ("plan", "migration.yaml"),
            ("apply", "plans/smoke.plan.yaml"),
            ("verify", "plans/smoke.plan.yaml", "--level", "content"),
            ("plan", "migration.yaml", "--detailed-exitcode"),
            ("ledger", "stop"),
        ):
            done = subprocess.run(
                [
                    *(*BUILDAH, "run", "--isolation", "chroot", "--network", "host", "--user", "10001:10001"),
                    *("--volume", f"{folder}:/tmp:rw", "--workingdir", "/tmp"),
                    *(*keys, name, "--", "/opt/s3migrate/bin/s3migrate", *words),
                ],
                check=False,
            )
            print(f"== s3migrate {' '.join(words)}: exit {done.returncode}", flush=True)
            worst = max(worst, done.returncode)
        return worst


def main() -> int:
    """The script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="an image with Python 3.11 or newer [a Debian base made here]")
    build(parser.parse_args().base or make_base())
    with container() as name:
        return move(name)


if __name__ == "__main__":
    sys.exit(main())
