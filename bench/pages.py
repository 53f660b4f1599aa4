"""Every page we make, of runs with 12, 10,000 and 1,000,000 objects and hostile names, to be looked at.

    python -m bench.pages FOLDER [OBJECTS ...]

FOLDER/OBJECTS/NAME-WIDTH-dark.png and so on, 1280 and 390 pixels wide, light and dark; sizes of the files; and what
axe-core finds serious, where it is installed (npm install axe-core, or AXE_CORE=FILE). Exit 1 if it finds something.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from support.chromium import Chromium, Look
from support.pages import axe_script, complaints, write_pages

from executor.ledger.embedded.server import EmbeddedPostgres
from executor.ledger.ledger import Ledger

LOOKS = tuple(Look(width, dark) for width in (1280, 390) for dark in (False, True))


def main() -> int:
    """Write, draw, ask."""
    to, sizes = Path(sys.argv[1]), [int(word) for word in sys.argv[2:]] or [12, 10_000, 1_000_000]
    axe = axe_script()
    print(f"axe-core: {axe or 'not installed'}")
    found = 0
    with tempfile.TemporaryDirectory(prefix="s3migrate-pages-") as home, Chromium() as browser:
        server = EmbeddedPostgres(Path(home) / "postgres")
        ledger = Ledger(server.url())
        try:
            ledger.schema.migrate()
            for objects in sizes:
                folder = to / f"{objects}"
                folder.mkdir(parents=True, exist_ok=True)
                began = time.monotonic()
                for path in write_pages(ledger, objects, folder):
                    print(f"{objects:>9,} {path.stem:15} {path.stat().st_size:>9,} bytes", flush=True)
                    for look in LOOKS:
                        with browser.page(path.as_uri(), look) as page:
                            page.picture(path.with_name(f"{path.stem}-{look.width}-{'dark' * look.dark}.png"))
                            wide = page.run("document.documentElement.scrollWidth")
                            said = complaints(page, axe) if axe else []
                            said += [f"wider than its window: {wide} pixels"] if wide > look.width else []
                        print(*(f"    {look}: {complaint}\n" for complaint in said), sep="", end="")
                        found += len(said)
                print(f"{objects:>9,} objects: {time.monotonic() - began:.0f} s")
        finally:
            ledger.close()
            server.stop()
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
