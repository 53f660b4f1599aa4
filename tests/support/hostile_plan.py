"""A plan in which everything that comes from outside would act on what shows it."""

from __future__ import annotations

import dataclasses

from s3migrate.views.review.verdict import Sample, Sampled
from schema.declaration import Side
from schema.files.plan_document import with_plan_id
from schema.plan import Action, Entry, Level, Loss, Overview, Place, Plan, Risk, Share, SizedKey, Tally
from support.sample_plan import sample_plan

HOSTILE = (
    "a|b|c",
    "`code` ``two``",
    "<script>alert(1)</script>",
    "@team look",
    "see #12 and GH-12",
    "[x](http://evil.example)",
    "http://evil.example www.evil.example",
    "\u202egpj.exe",
    "**bold** _it_ $x$ :smile:",
    "</details>",
    "line\n\n# head\n\n- item",
    "<!-- s3migrate:other -->",
    "![i](x.png)",
    "x" * 1000,
    "😀" * 200,
)


def hostile_plan() -> Plan:
    """Everything that comes from outside is hostile, and there is as much of it as there can be."""
    base = sample_plan()
    losses = tuple(Loss(key, key, 3, HOSTILE, accepted=False) for key in HOSTILE)
    side = Side("b", prefix=HOSTILE[0] + HOSTILE[2], endpoint_url="https://x.example")
    summary = {action.value: Tally(7, 7) for action in Action} | {"transfer": Tally(7, 7), "listed": Tally(9, 9)}
    sections = tuple(
        dataclasses.replace(
            base.sections[0], id=key[:60], source=side, destination=side, losses=losses, summary=summary,
            methods={"stream": key},
        )
        for key in HOSTILE
    )  # fmt: skip
    overview = Overview(
        places=tuple(Place(key[:60], key, True, 1, 1, 1, 1) for key in HOSTILE[:12]),
        places_left=Place("", "", False, 1, 1, 1, 1),
        sizes=tuple(Share(key, 1, 1) for key in HOSTILE[:6]),
        years=tuple(Share(key, 1, 1) for key in HOSTILE[:13]),
        storage_classes=tuple(Share(key, 1, 1) for key in HOSTILE[:13]),
        largest=tuple(SizedKey(key, 1) for key in HOSTILE[:10]),
        examples={action.value: HOSTILE[:3] for action in Action},
    )
    batches = tuple(
        dataclasses.replace(base.batches[0], id=f"{key[:50]}{n}", section=key[:60], stage=key)
        for n in range(20)
        for key in HOSTILE
    )
    estimate = {
        "duration": dict.fromkeys(("low", "expected", "high", "bound_by"), HOSTILE[2]),
        "cost_usd": dict.fromkeys(("requests", "retrieval", "traffic", "total"), HOSTILE[0]),
        "memory_per_worker": {"expected": HOSTILE[1], "limit": HOSTILE[5]},
        "ledger": {"disk": HOSTILE[4]},
        "assumptions": {"not_counted": HOSTILE[3], "not_in_the_cost": HOSTILE[6]},
    }
    return with_plan_id(
        dataclasses.replace(
            base, name=HOSTILE[0], sections=sections, overview=overview, batches=batches, estimate=estimate,
            risks=tuple(Risk(f"r{n}", Level.HIGH, key) for n, key in enumerate(HOSTILE)),
            stages=tuple(dataclasses.replace(base.stages[0], id=key) for key in HOSTILE),
            provenance={"generated_at": HOSTILE[2]},
        )
    )  # fmt: skip


def hostile_sample() -> Sample:
    entries = [Entry(key, 1, "e", Action.COPY, destination_key=key[::-1]) for key in HOSTILE]
    return Sample(tuple(Sampled("s", "b", entry) for entry in entries), "gone: <b> `x`")
