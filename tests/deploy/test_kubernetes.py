"""The manifests render as users render them, are what the API takes, and say what the table of exit codes says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from shutil import copytree
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from support.sample_plan import sample_plan

from s3migrate.views.kubernetes import resources_patch
from schema.exit_codes import AfterExit, ExitCode

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
FOLDERS = ("ledger", "base", "workers", "keda", "hpa")
KEDA = Path(os.environ.get("KEDA_DEFINITIONS", Path(__file__).parents[3] / "shared" / "data" / "keda"))
"""KEDA's own resource definitions, one file each; without them its two resources are only rendered."""


def kustomized(*words: str | Path) -> tuple[dict[str, Any], ...]:
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run([kubectl, "kustomize", *words], capture_output=True, text=True, check=True)
    return tuple(yaml.load_all(done.stdout, yaml.CSafeLoader))


@cache
def rendered(folder: str) -> tuple[dict[str, Any], ...]:
    """What `kubectl apply -k` would send."""
    return kustomized(KUBERNETES / folder)


def jobs() -> Iterator[Any]:
    """Every Job's specification that carries out a plan."""
    for folder in FOLDERS:
        for resource in rendered(folder):
            if resource["kind"] == "ScaledJob":
                yield resource["spec"]["jobTargetRef"]
            elif resource["metadata"]["name"] == "s3migrate-apply":
                yield resource["spec"]


def of_kind(folder: str, kind: str) -> list[dict[str, Any]]:
    return [resource for resource in rendered(folder) if resource["kind"] == kind]


@pytest.mark.parametrize("version", ["1.34", "1.37"])
@pytest.mark.parametrize("folder", FOLDERS)
def test_the_api_takes_every_resource(folder: str, version: str) -> None:
    for resource in rendered(folder):
        if not resource["apiVersion"].startswith("keda.sh/"):
            kubernetes_validate.validate(resource, version, strict=True)


def test_the_strict_check_finds_a_field_that_does_not_exist() -> None:
    job = {**of_kind("base", "Job")[0]}
    job["spec"] = {**job["spec"], "parallelizm": 4}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.37", strict=True)


def closed(schema: Any) -> Any:
    """*schema* with every map of known fields closed, as the API's strict decoding does."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(value) for name, value in schema.items()}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        found.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        found.pop("type", None)
    return found


@pytest.mark.skipif(not KEDA.is_dir(), reason="KEDA's definitions are not here (KEDA_DEFINITIONS)")
@pytest.mark.parametrize("kind", ["ScaledJob", "TriggerAuthentication"])
def test_keda_takes_its_resources(kind: str) -> None:
    definition = yaml.load((KEDA / f"keda.sh_{kind.lower()}s.yaml").read_text(), yaml.CSafeLoader)
    schema = closed(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    (resource,) = of_kind("keda", kind)
    jsonschema.validate(resource, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**resource, "spec": {**resource["spec"], "pollingIntervall": 1}}, schema)


def test_every_exit_code_is_in_one_rule_and_in_the_right_one() -> None:
    action = {AfterExit.AGAIN: "Ignore", AfterExit.RETRY: "Count", AfterExit.PERSON: "FailJob"}
    wanted = {int(code): action[code.then] for code in ExitCode if code.then is not AfterExit.NOTHING}
    found = list(jobs())
    assert len(found) == 5
    for job in found:
        rules = job["podFailurePolicy"]["rules"]
        codes = [(code, rule["action"]) for rule in rules for code in rule.get("onExitCodes", {}).get("values", ())]
        assert max(Counter(code for code, _ in codes).values()) == 1
        assert dict(codes) == wanted
        assert {rule["onExitCodes"]["operator"] for rule in rules if "onExitCodes" in rule} == {"In"}
        names = {container["name"] for container in job["template"]["spec"]["containers"]}
        assert {rule["onExitCodes"]["containerName"] for rule in rules if "onExitCodes" in rule} == names
        assert rules[0] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_container_is_held_down(folder: str) -> None:
    templates = [r["spec"]["template"] for r in rendered(folder) if "template" in r.get("spec", {})]
    pods = [template["spec"] for template in templates]
    pods += [resource["spec"]["jobTargetRef"]["template"]["spec"] for resource in of_kind(folder, "ScaledJob")]
    assert pods
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]
            assert container["image"] == "registry.example/s3migrate:0.1.0"


def test_no_worker_starts_beside_the_migration_it_needs() -> None:
    """Exit 78 is final: what creates workers creates no migration, which would run at the same time."""
    names = {folder: {resource["metadata"]["name"] for resource in rendered(folder)} for folder in FOLDERS}
    assert "s3migrate-ledger-migration" in names["ledger"] and "s3migrate-apply" not in names["ledger"]
    assert all("s3migrate-ledger-migration" not in names[folder] for folder in FOLDERS[1:])


def test_a_job_whose_workers_leave_early_has_one_pod() -> None:
    """After a work queue's first success no failed pod is replaced: whoever may leave early is a Job by itself."""
    for job in jobs():
        (container,) = job["template"]["spec"]["containers"]
        early = "--leave-when-idle" in container["args"]
        assert early == (job.get("completions") == 1)
        assert not early or job["parallelism"] == 1


@pytest.mark.parametrize(
    ("needed", "requested", "limit"), [(150, 512, 640), (700, 704, 896), (2_150, 2_176, 2_688)], ids=str
)
def test_the_estimate_becomes_the_pods_resources(tmp_path: Path, needed: int, requested: int, limit: int) -> None:
    plan = sample_plan(estimate={"figures": {"memory_per_worker_bytes": needed * 1024 * 1024}})
    for folder in ("base", "common"):
        copytree(KUBERNETES / folder, tmp_path / folder)
    (tmp_path / "resources.yaml").write_text(resources_patch(plan))
    (tmp_path / "kustomization.yaml").write_text("resources: [base]\npatches: [{path: resources.yaml}]\n")
    (job,) = (found for found in kustomized(tmp_path) if found["metadata"]["name"] == "s3migrate-apply")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "1", "memory": f"{requested}Mi"},
        "limits": {"memory": f"{limit}Mi"},
    }
    assert container["args"][0] == "apply", "all else stays"
    kubernetes_validate.validate(job, "1.37", strict=True)
