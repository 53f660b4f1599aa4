#!/usr/bin/env bash
# Applies exactly the plan at $PLAN. A run that is not done when $MINUTES are over stops in good order and asks for
# another job: output again=true. Environment: PLAN, MINUTES (whole ones, below the runner's own limit), EXPECT_PLAN_ID (may
# be empty: the id in the file, which is the merged and therefore approved one).
set -uo pipefail

if ! [[ ${MINUTES:-} =~ ^[1-9][0-9]{0,4}$ ]]; then
  echo "::error::MINUTES must be a whole number of minutes"
  exit 64
fi

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
75) # stopped in good order: the same command goes on, the ledger knows what was done
  again=true
  code=0
  ;;
137) # killed: because it did not stop in time, or by the machine, out of memory, which would happen again and again
  if ((SECONDS >= MINUTES * 60)); then
    again=true
    code=0
  else
    echo "::error::apply was killed before its time was over; was its memory enough? Set limits.memory and run this job again"
  fi
  ;;
esac
echo "again=$again" >>"$GITHUB_OUTPUT"
s3migrate report >>"$GITHUB_STEP_SUMMARY" || true # markdown, in which keys are escaped
exit "$code"
