"""The processor and memory that a plan's worker needs, as a Kustomize patch of deploy/kubernetes/base."""

from __future__ import annotations

from schema.plan import Plan

MIB = 1024 * 1024
STEP_MIB = 64
LEAST_MIB = 512
"""Python, its libraries and connections take 150 MiB per process, there are two on two cores, and buffers come on
top."""
WORTH_A_CORE = 5_000
"""Objects for which another process is worth its start."""


def resources_patch(plan: Plan) -> str:
    """The patch. Memory is the estimate for a worker, its limit a quarter more; processor time has no limit."""
    expected = int(plan.estimate.get("figures", {}).get("memory_per_worker_bytes", 0))  # older plans have none
    request = max(LEAST_MIB, _up(expected))
    limit = _up(max(LEAST_MIB * MIB, expected) * 5 // 4)
    cores = 2 if plan.transfer.objects >= 2 * WORTH_A_CORE or plan.transfer.bytes >= 8 * 1024 * MIB else 1
    return f"""\
# One worker of plan {plan.plan_id}.
# Save it beside your kustomization.yaml as resources.yaml and name it there: patches: [{{path: resources.yaml}}]
apiVersion: batch/v1
kind: Job
metadata:
  name: s3migrate-apply
spec:
  template:
    spec:
      containers:
        - name: apply
          resources:
            requests: {{cpu: "{cores}", memory: {request}Mi}}
            limits: {{memory: {limit}Mi}}
"""


def _up(size: int) -> int:
    """*size* bytes in MiB, rounded up to whole steps."""
    return -(-size // (STEP_MIB * MIB)) * STEP_MIB
