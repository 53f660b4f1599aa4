"""certify and prove, from declaration to a stranger's script that asks the bucket itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.corpus import CorpusObject
from support.operator import Operator
from support.oracle import fill
from support.stranger import verified

from schema.files.certificate import LEAVES, NOT_CERTIFIED
from schema.files.certificate_files import read_leaves

FILES = [
    CorpusObject("a", 100, 1, {"ContentType": "text/plain"}, {"word": "one"}, {"tag": "x"}),
    CorpusObject("b,=1+1 \u202e<b>", 200, 2, {}, {"word": "two"}),
    CorpusObject("c", 300, 3),
    CorpusObject("kept", 10, 4),
]


@pytest.fixture
def planned(on_moto: Operator) -> Operator:
    """Three objects to copy, one that is there already, and a stranger at the destination."""
    fill(on_moto.source.client(), on_moto.source_bucket, FILES)
    fill(on_moto.destination.client(), on_moto.destination_bucket, [FILES[3], CorpusObject("stranger", 5, 5)])
    on_moto.plan().ok()
    return on_moto


def listing(operator: Operator) -> Path:
    """What the AWS command line writes for `s3api list-objects-v2`."""
    answer = operator.destination.client().list_objects_v2(Bucket=operator.destination_bucket)
    path = operator.folder / "listing.json"
    path.write_text(json.dumps({"Contents": answer["Contents"]}, default=str, indent=4))
    return path


def test_a_certificate_from_apply_to_proof(planned: Operator) -> None:
    refused = planned.run("certify")
    assert refused.code == 64 and "no run yet" in refused.err
    planned.apply().ok()

    roots = {}
    for level in ("recorded", "listed", "head", "content"):
        made = planned.run("certify", "--level", level, "-o", level, "--json")
        (facts,) = made.ok().lines("certificate")
        tree = planned.folder / level / facts["section"]
        leaves = [json.loads(line) for line in read_leaves(tree)]
        assert facts["evidence"] == {level: 4} and facts["not_certified"] == {"extraneous": 1}
        assert [leaf["key"] for leaf in leaves] == sorted(item.key for item in FILES)
        assert all(leaf["digest"] for leaf in leaves)
        assert all((leaf["metadata"] is not None) == (level in ("head", "content")) for leaf in leaves)
        assert verified(tree, listing(planned)).stderr == ""
        roots[level] = facts["root"]
    assert len(set(roots.values())) == 4

    proof = planned.folder / "b.tlog-proof"
    planned.run("prove", FILES[1].key, "--certificate", "head", "-o", proof).ok()
    assert verified(proof, planned.folder / "head" / facts["section"] / "checkpoint").returncode == 0
    assert verified(proof, planned.folder / "listed" / facts["section"] / "checkpoint").returncode == 1
    unknown = planned.run("prove", "nowhere", "--certificate", "head")
    assert unknown.code == 66 and NOT_CERTIFIED in unknown.err


def test_what_has_changed_since_is_not_certified(planned: Operator) -> None:
    planned.apply().ok()
    client, bucket = planned.destination.client(), planned.destination_bucket
    client.delete_object(Bucket=bucket, Key="a")
    client.put_object(Bucket=bucket, Key="c", Body=b"other")
    client.put_object(Bucket=bucket, Key="new", Body=b"")

    made = planned.run("certify", "--json")

    assert made.code == 8
    (facts,) = made.lines("certificate")
    assert facts["not_certified"] == {"different": 1, "extraneous": 1, "missing": 1, "unaccounted": 1}
    tree = planned.folder / facts["path"] / facts["section"]
    assert (tree / LEAVES).exists()
    assert verified(tree, listing(planned)).returncode == 0

    recorded = planned.run("certify", "--level", "recorded", "-o", "trusting", "--json").ok().lines("certificate")[0]
    told = verified(planned.folder / "trusting" / recorded["section"], listing(planned))
    assert told.returncode == 1
    assert "b'a'" in told.stderr and "b'c'" in told.stderr and "b'new'" in told.stderr
