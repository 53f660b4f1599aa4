#!/usr/bin/env bash
# Applies exactly the plan at $PLAN. A run that is not done when $MINUTES are over stops in good order and asks for
# another job: output again=true. Environment: PLAN, MINUTES (below the runner's own limit), EXPECT_PLAN_ID (may be empty:
# the id in the file, which is the merged and therefore approved one).
set -uo pipefail

id=${EXPECT_PLAN_ID:-}
if [[ -z $id ]]; then
  id=$(s3migrate show "$PLAN" --format json |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["plan_id"].removeprefix("sha256:"))') || exit 5
fi

# --preserve-status: what s3migrate says counts, not that its time was over.
timeout --preserve-status --signal=INT --kill-after=10m "${MINUTES}m" s3migrate apply "$PLAN" --expect-plan-id "$id"
code=$?
again=false
case $code in
75 | 137) # stopped; or did not stop in time and was killed: the same command goes on, the ledger knows what was done
  again=true
  code=0
  ;;
esac
echo "again=$again" >>"$GITHUB_OUTPUT"
s3migrate status >>"$GITHUB_STEP_SUMMARY" 2>/dev/null || true
exit "$code"
