#!/usr/bin/env bash
# Writes or checks the plan at $PLAN, then the job summary and the outputs plan-id, changes and body.
# Environment: MODE (plan or check), DECLARATION, PLAN, BASE_SHA (the commit the pull request is against; may be empty).
set -euo pipefail

plan=$PLAN
changes=0
case $MODE in
plan)
  s3migrate plan "$DECLARATION" --output "$plan" --detailed-exitcode || changes=$?
  ((changes == 0 || changes == 2)) || exit "$changes"
  ;;
check)
  # Showing it proves the document; the manifests may lie in a bucket that a fork has no key to.
  s3migrate check "$plan" || echo "::warning::the manifests were not proven"
  ;;
*)
  echo "::error::mode must be plan or check"
  exit 64
  ;;
esac

# The plan as it is on the branch the pull request goes to, beside the manifests that both share.
base=()
before=$(dirname -- "$plan")/.before.plan.yaml
trap 'rm -f -- "$before"' EXIT
if [[ -n ${BASE_SHA:-} ]] && git show "$BASE_SHA:$plan" >"$before" 2>/dev/null; then
  base=(--base "$before")
fi

body=$RUNNER_TEMP/s3migrate-comment.md
s3migrate show "$plan" --format md "${base[@]}" --output "$body"
s3migrate show "$plan" --format html "${base[@]}" --output "$RUNNER_TEMP/s3migrate-plan.html"
s3migrate show "$plan" --format json --output "$RUNNER_TEMP/s3migrate-plan.json"
cat -- "$body" >>"$GITHUB_STEP_SUMMARY"
python3 - "$RUNNER_TEMP/s3migrate-plan.json" "$body" >>"$GITHUB_OUTPUT" <<'PYTHON'
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    plan = json.load(file)
print(f"plan-id={plan['plan_id'].removeprefix('sha256:')}")
print(f"changes={str(bool(plan['batches'])).lower()}")
print(f"body={sys.argv[2]}")
PYTHON
