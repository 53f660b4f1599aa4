"""prove: the hashes that lead from one key's leaf to the root of a certificate."""

from __future__ import annotations

from pathlib import Path

import click

from s3migrate.commands.common import json_errors, json_lines, json_option, spelled, write_output
from schema.errors import KeyUnknown, UsageError
from schema.files.certificate import leaf_of
from schema.files.certificate_files import inclusions, read_note, trees_of
from schema.formats.escape import one_line


@click.command("prove", short_help="Prove that a certificate includes a key.")
@click.argument("key")
@click.option(
    "--certificate",
    type=click.Path(path_type=Path, file_okay=False),
    help="Its folder  [the one in certificates/]",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the proof here instead of stdout."
)
@json_option
@json_errors
def prove_command(*, key: str, certificate: Path | None, output: Path | None, as_json: bool) -> None:
    """Write a C2SP tlog-proof that the certificate includes KEY, a destination key spelled as s3migrate shows it.

    To check the proof one needs the checkpoint and nothing else of the certificate. Neither network nor ledger is
    used. A key with several versions has one proof for each.
    """
    wanted = spelled(key)
    proofs = []
    for tree in trees_of(certificate or _only_certificate()):
        note = read_note(tree)
        try:
            proofs += [(found, found.text(note)) for found in inclusions(tree, wanted)]
        except KeyUnknown as error:
            unknown = error
    if not proofs:
        raise unknown
    if output is not None and len(proofs) > 1:
        raise UsageError(f"{one_line(key)} has {len(proofs)} proofs; leave out -o to print them one after the other")
    for found, text in proofs:
        if output is not None:
            write_output(output, text.encode())
        if as_json:
            leaf, path = leaf_of(found.leaf)._asdict(), [node.hex() for node in found.path]
            json_lines().emit({"type": "proof", "leaf": leaf, "index": found.place, "path": path})
        elif output is None:
            click.echo(text)


def _only_certificate() -> Path:
    found = [path for path in sorted(Path("certificates").glob("*")) if path.is_dir() and path.name[0] != "."]
    if len(found) != 1:
        raise UsageError(f"there are {len(found)} certificates in certificates/; name one with --certificate")
    return found[0]
