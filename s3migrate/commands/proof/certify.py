"""certify: a certificate of what a run has put in place, for people who do not trust this tool."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from executor.ledger.values import Run
from executor.machine.memory import calm_collector, default_budget, set_malloc_arenas
from executor.route import routes_of
from executor.verify.certify import UNDONE, WRONG, Certification, require_ended
from executor.verify.open_hours import OpenHours
from executor.verify.run import Looked
from s3migrate.commands.common import (
    PLAN_PLACE,
    chosen_run,
    emitter,
    follow_output,
    json_errors,
    json_option,
    plan_of_run,
    quiet_option,
    say,
    stop_at_signals,
    waits_told,
)
from s3migrate.plan_url import PlanUrl
from s3migrate.settings import read_settings
from s3migrate.views.proof_progress import ProofLines, keys_of
from s3migrate.wiring import calendar_of, open_ledger, open_readers, reading_tools
from schema.ends import server_of
from schema.errors import FinishedWithFailures, IntegrityRefused, VerifyFailed
from schema.files.certificate import Checkpoint, EvidenceLevel, Leaf, NotCertified
from schema.files.certificate_files import CertificateFolder, TreeWriter
from schema.files.manifest import ManifestStore, manifest_complaints
from schema.files.signed_note import signed
from schema.formats.quantities import count_text, counted_text
from schema.plan import Plan, Section

if TYPE_CHECKING:
    from storage.port import RequestObserver
    from storage.s3.store import S3Store


@click.command("certify", short_help="Write a certificate of what a run has put in place.")
@click.argument("run_id", metavar="RUN", type=int, required=False)
@click.option(
    "--plan",
    "plan_path",
    metavar="PLAN",
    type=PLAN_PLACE,
    help="The run's plan  [the one in plans/]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder to create  [certificates/NAME-run-RUN]",
)
@click.option(
    "--level",
    type=click.Choice([level.value for level in EvidenceLevel]),
    default=EvidenceLevel.LISTED.value,
    show_default=True,
    help="What is checked again: nothing, the listing, every HEAD, all bytes.",
)
@click.option("--sign", "key_path", type=click.Path(path_type=Path, dir_okay=False), help="An Ed25519 key, PEM.")
@quiet_option
@json_option
@json_errors
def certify_command(
    *,
    run_id: int | None,
    plan_path: Path | PlanUrl | None,
    output: Path | None,
    level: str,
    key_path: Path | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Write a hash tree of every object that RUN (default: the latest) has put in place and of what proves it.

    docs/verify_certificate.py checks the result against the bucket's own listing without any code of s3migrate. A
    key that is not certified is listed with the reason.
    """
    settings = read_settings()
    live = follow_output(settings, silent=quiet or as_json)
    set_malloc_arenas()
    stop = stop_at_signals()
    with closing(open_ledger(settings)) as ledger:
        calm_collector()
        run = chosen_run(ledger, run_id)
        plan, manifests = plan_of_run(run, plan_path)
        require_ended(ledger, run)
        _require_whole(plan, manifests)
        if key_path is not None:
            signed("", "s3migrate", key_path)  # fails before hours of work, not after
        path = output or Path("certificates") / f"{plan.name}-run-{run.run_id}"
        deep = EvidenceLevel(level)
        hours = OpenHours(calendar_of(plan, ledger, run), waits_told(emitter(as_json)), stop, "certify")
        with CertificateFolder(path) as folder, _stores(plan, deep, hours) as stores:
            budget = plan.limits.memory or default_budget()
            certification = Certification(
                plan=plan,
                routes=routes_of(plan, stores, budget) if stores else {},
                manifests=manifests,
                ledger=ledger,
                run_id=run.run_id,
                level=deep,
                tools=reading_tools(budget, stop),
            )
            lines = None if quiet or as_json else _lines(plan, live=live)
            looked = Looked()
            note = _Note(plan, run, deep, key_path)
            written = [
                _written(
                    _followed(certification.records(section), looked, lines),
                    section,
                    folder.tree(section.id),
                    note=note,
                )
                for section in plan.sections
            ]
    return _conclude(path, written, emitter(as_json))


@contextmanager
def _stores(
    plan: Plan, level: EvidenceLevel, observer: RequestObserver
) -> Iterator[Mapping[str, tuple[S3Store, S3Store]]]:
    """Both ends of every section; empty where no object is checked again."""
    if level is EvidenceLevel.RECORDED:
        yield {}
        return
    with open_readers(plan, say, observer) as stores:
        yield stores


@dataclass(frozen=True, slots=True)
class _Note:
    """What a checkpoint says in addition to its tree."""

    plan: Plan
    run: Run
    level: EvidenceLevel
    key_path: Path | None

    def facts(self) -> list[str]:
        """The checkpoint's extension lines; no root depends on them."""
        now = datetime.now(UTC)
        return [
            f"plan {self.run.plan_id}",
            f"run {self.run.run_id} {self.run.state.name.lower()}",
            f"level {self.level.value}",
            f"made {now:%Y-%m-%dT%H:%M:%SZ}",
        ]


@dataclass(slots=True)
class _Written:
    """What one section's tree holds."""

    section: str
    checkpoint: Checkpoint
    evidence: Counter[str] = field(default_factory=Counter)
    not_certified: Counter[str] = field(default_factory=Counter)


def _require_whole(plan: Plan, manifests: ManifestStore) -> None:
    complaints = list(manifest_complaints(plan, manifests))
    if complaints:
        raise IntegrityRefused("nothing is certified:\n" + "\n".join(complaints))


def _origin(plan: Plan, section: Section) -> str:
    """The tree's name: the destination and the plan that was carried out there."""
    side = section.destination
    place = quote(f"{server_of(side.endpoint_url)}/{side.bucket}/{side.prefix}", safe="/:.-_")
    return f"{place}@{plan.plan_id.removeprefix('sha256:')[:16]}"


def _lines(plan: Plan, *, live: bool) -> ProofLines:
    return ProofLines(
        partial(click.echo, err=True),
        time.monotonic,
        live,
        Looked(objects=keys_of(plan)),
        title="Certify",
        verb="looked at",
    )


def _followed(
    records: Iterable[Leaf | NotCertified], looked: Looked, lines: ProofLines | None
) -> Iterator[Leaf | NotCertified]:
    """Pass *records* on; count them in *looked* and show that on *lines* now and then."""
    for record in records:
        if looked.count_object() and lines is not None:
            lines.tell(looked)
        yield record


def _written(records: Iterable[Leaf | NotCertified], section: Section, tree: TreeWriter, *, note: _Note) -> _Written:
    evidence: Counter[str] = Counter()
    not_certified: Counter[str] = Counter()
    with tree:
        for record in records:
            tree.add(record)
            if isinstance(record, Leaf):
                evidence[record.evidence.value] += 1
            else:
                not_certified[record.kind] += 1
        checkpoint = tree.finish(_origin(note.plan, section), note.facts())
        text = checkpoint.text()
        if note.key_path is None:
            tree.write_note(text)
        else:
            tree.write_note(*signed(text, checkpoint.origin, note.key_path))
    return _Written(section.id, checkpoint, evidence, not_certified)


def _conclude(path: Path, written: Iterable[_Written], emit: Callable[[dict[str, Any]], None] | None) -> int:
    kinds: Counter[str] = Counter()
    for tree in written:
        kinds += tree.not_certified
        root = tree.checkpoint.root.hex()
        if emit is not None:
            facts = {"path": str(path), "section": tree.section, "size": tree.checkpoint.size, "root": root}
            counts = {"evidence": dict(tree.evidence), "not_certified": dict(tree.not_certified)}
            emit({"type": "certificate", **facts, **counts})
            continue
        by = f" ({_counts(tree.evidence)})" if tree.evidence else ""
        click.echo(f"{path / tree.section}: {counted_text(tree.checkpoint.size, 'object')} certified{by}, root {root}")
        if tree.not_certified:
            click.echo(f"  not certified: {_counts(tree.not_certified)}; not-certified.jsonl.gz there says why")
    wrong = Counter({kind: n for kind, n in kinds.items() if kind in WRONG})
    if wrong:
        raise VerifyFailed(
            f"{path} was written, but the destination is not as the ledger has it: {_counts(wrong)}. Look at "
            "not-certified.jsonl.gz there, repair the destination with a new plan, certify again"
        )
    undone = Counter({kind: n for kind, n in kinds.items() if kind in UNDONE})
    if undone:
        raise FinishedWithFailures(
            f"{path} was written, without what the run did not move: {_counts(undone)}. `s3migrate retry` or a new "
            "plan moves them"
        )
    return 0


def _counts(counter: Mapping[str, int]) -> str:
    return ", ".join(f"{count_text(n)} {kind}" for kind, n in sorted(counter.items()))
