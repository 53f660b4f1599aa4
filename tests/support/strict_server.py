"""A third server, stricter than moto and rclone: LocalStack's S3 provider, in an environment of its own.

It refuses reads without the right SSE-C key, enforces conditions and checksums, and keeps null versions where they
were written. What it does is told in docs/test-bed.md. `make strict` builds the environment.
"""

from __future__ import annotations

import os
from pathlib import Path

from support.servers import S3Server, ServerFailed

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("STRICT_PYTHON", ROOT / ".strict" / "bin" / "python"))
"""Of the environment with the server's packages (tests/strict/requirements.txt)."""


class StrictServer(S3Server):
    """LocalStack's S3 in a process of its own, in memory, without an account or a network; about 200 requests/s."""

    kind = "strict"

    def _command(self) -> list[str]:
        if not PYTHON.exists():
            raise ServerFailed(f"no {PYTHON}: the strict server has an environment of its own; run make strict")
        home = self.log.parent
        settings = {
            "HOME": home,
            "TMPDIR": home,
            "FILESYSTEM_ROOT": home / "root",
            "SERVICES": "s3",
            "STRICT_SERVICE_LOADING": "1",
            "DISABLE_EVENTS": "1",
            "DISABLE_CORS_CHECKS": "1",
        }
        words = [f"{name}={value}" for name, value in settings.items()]
        return ["/usr/bin/env", *words, str(PYTHON), "-P", str(ROOT / "tests/support/strict_program.py")]
