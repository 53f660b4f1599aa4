"""Keep one comment on a pull request: create it, replace it when its text changed, else leave it alone.

python3 comment.py OWNER/REPOSITORY NUMBER FILE SUMMARY_URL AUTHOR

FILE is what `s3migrate show --format md` wrote; its first line is a hidden marker that names the migration, by which
the comment is found again. Anybody can write that marker: only a comment by AUTHOR, the token's own user, is taken.
Needs `gh` and GH_TOKEN. The text goes through a file, never through the command line.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST_CHARACTERS = 65_536
"""GitHub refuses longer comments."""
PER_PAGE = 100
MARKER = re.compile(r"<!-- s3migrate:[0-9a-f-]{36} -->")


def main(repository: str, number: str, body_path: str, *, summary_url: str, author: str) -> int:
    """Exit code 0, or that of `gh`."""
    body = bounded(Path(body_path).read_text(encoding="utf-8"), summary_url)
    marker = body.splitlines()[0] if body else ""
    if not MARKER.fullmatch(marker):
        print(
            f"{body_path}: the first line is not the marker that `s3migrate show --format md` writes", file=sys.stderr
        )
        return 65
    for comment in comments(repository, number):
        text = comment.get("body") or ""
        if (comment.get("user") or {}).get("login") != author or not text.startswith(marker):
            continue
        if same(text, body):
            print(f"comment {comment['id']} says the same already")
        else:
            send("PATCH", f"repos/{repository}/issues/comments/{int(comment['id'])}", body)
        return 0
    send("POST", f"repos/{repository}/issues/{int(number)}/comments", body)
    return 0


def bounded(body: str, summary_url: str) -> str:
    """*body*, or its marker, its headline and where the rest is, when GitHub would refuse it."""
    if len(body) <= MOST_CHARACTERS:
        return body
    head = "\n".join(body.splitlines()[:2])[: MOST_CHARACTERS // 2]
    return f"{head}\n\nToo long for a comment; the whole text is in the [job summary]({summary_url})."


def same(one: str, other: str) -> bool:
    """Whether two texts differ in more than line ends and space at the end."""
    return one.replace("\r\n", "\n").rstrip() == other.rstrip()


def comments(repository: str, number: str) -> Iterator[dict[str, Any]]:
    """The comments of the pull request, oldest first."""
    page = 1
    while True:
        found = json.loads(gh(f"repos/{repository}/issues/{int(number)}/comments?per_page={PER_PAGE}&page={page}"))
        yield from found
        if len(found) < PER_PAGE:
            return
        page += 1


def send(method: str, path: str, body: str) -> None:
    """One request with *body* as the comment's text."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump({"body": body}, file)
        file.flush()
        gh(path, "--method", method, "--input", file.name)
    print(f"{method} {path}")


def gh(path: str, *options: str) -> str:
    """What `gh api` answers. SystemExit with its exit code and complaint."""
    done = subprocess.run(["gh", "api", path, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"gh api {path}: {done.stderr.strip()}", file=sys.stderr)
        raise SystemExit(done.returncode)
    return done.stdout


if __name__ == "__main__":
    if len(sys.argv) != 6:
        raise SystemExit(__doc__)
    raise SystemExit(main(*sys.argv[1:4], summary_url=sys.argv[4], author=sys.argv[5]))
