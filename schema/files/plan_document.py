"""The plan as values and as a plain document, and its id, which follows from its content.

Everything in the document but `plan_id` and `provenance` is hashed into the plan_id, so that one plan has one name
wherever and whenever it is made. No field is left to a default of the reading program: what the planner assumed is
written out, and only what is None is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from schema.errors import PlanCorrupt
from schema.files import batch_index
from schema.formats.canonical import canonical_json, sha256_of
from schema.formats.plain import build, plain
from schema.plan import API_VERSION, PLAN_KIND, Batch, Plan, Section

MAX_INLINE_BATCHES = 16
"""More go into an index beside the manifests, so that a pair's document stays under 300 lines however much it moves."""
UNHASHED = ("plan_id", "provenance")


def to_document(plan: Plan) -> dict[str, Any]:
    """*plan* as a plain document, fields in the order a reviewer reads them."""
    values = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
    document: dict[str, Any] = {"apiVersion": API_VERSION, "kind": PLAN_KIND}
    for name, value in values.items():
        if name == "sections":
            document[name] = [_section_document(section) for section in plan.sections]
        elif name == "batches" and len(plan.batches) > MAX_INLINE_BATCHES:
            document["batch_index"] = {
                "sha256": batch_index.digest_of(plan.batches),
                "count": len(plan.batches),
            }
        elif value is not None:
            document[name] = plain(value)
    return document


def _section_document(section: Section) -> dict[str, Any]:
    document: dict[str, Any] = plain(section)
    for side in ("source", "destination"):
        document[f"{side}_capabilities"] = plain(getattr(section, f"{side}_capabilities").facts)
        if not document[side]["endpoint_candidates"]:
            del document[side]["endpoint_candidates"]
    return document


def from_document(document: Mapping[str, Any], batches: Sequence[Batch] | None = None) -> Plan:
    """The plan a *document* holds; *batches* are those of its batch index, where it has one.

    Shape only: no sums and no plan_id (plan_checks.check_content). Raises PlanCorrupt naming the field.
    """
    if not isinstance(document, Mapping):
        raise PlanCorrupt("the plan is not a map; plan again")
    fields = {name: value for name, value in document.items() if not name.startswith("x-")}
    if fields.pop("apiVersion", None) != API_VERSION or fields.pop("kind", None) != PLAN_KIND:
        raise PlanCorrupt(f"not a plan this build can read: it needs apiVersion {API_VERSION} and kind {PLAN_KIND}")
    index = fields.pop("batch_index", None)
    if index is not None:
        if "batches" in fields or batches is None:
            raise PlanCorrupt("batch_index: the batches must come from the index, and only from there; plan again")
        fields["batches"] = plain(batches)
    try:
        sections = fields["sections"]
        fields["sections"] = [_section_fields(section) for section in sections]
        return build(Plan, fields)
    except (KeyError, TypeError, AttributeError):
        raise PlanCorrupt("sections: missing or malformed; plan again") from None
    except ValueError as error:
        raise PlanCorrupt(f"{error}; plan again") from None


def _section_fields(section: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(section.items())
    for side in ("source", "destination"):
        fields[f"{side}_capabilities"] = {"facts": section[f"{side}_capabilities"]}
    return fields


def compute_plan_id(document: Mapping[str, Any]) -> str:
    """'sha256:...' over the canonical JSON of *document* without plan_id and provenance."""
    hashed = {name: value for name, value in document.items() if name not in UNHASHED}
    return sha256_of(API_VERSION.encode() + b"\n" + canonical_json(hashed))


def with_plan_id(plan: Plan) -> Plan:
    """*plan* with the plan_id of its content."""
    return dataclasses.replace(plan, plan_id=compute_plan_id(to_document(plan)))
