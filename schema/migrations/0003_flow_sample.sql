-- The history of a run: what each process did, and what its threads waited for, in some ten seconds. Append-only, and
-- no part of what a run is: nothing reads it to decide anything.
CREATE TABLE ledger.flow_sample (
    run_id               int         NOT NULL REFERENCES ledger.run,
    worker_id            int         NOT NULL REFERENCES ledger.worker,
    number               int         NOT NULL,  -- from 1, for each worker
    at                   timestamptz NOT NULL,  -- the end of the interval
    seconds              float8      NOT NULL,
    objects              bigint      NOT NULL,
    failed               bigint      NOT NULL,
    bytes                bigint      NOT NULL,
    processor_seconds    float8      NOT NULL,
    processor_wait_seconds float8    NOT NULL,
    saturated_seconds    float8      NOT NULL,
    threads              float8[]    NOT NULL,  -- thread-seconds by schema.flow.samples.Activity
    limit_seconds        json        NOT NULL,
    source_requests      bigint[]    NOT NULL,  -- by schema.flow.request_classes.RequestClass
    source_throttled     bigint      NOT NULL,
    source_failed        bigint      NOT NULL,
    source_bytes         bigint      NOT NULL,
    source_seconds       float8      NOT NULL,
    destination_requests  bigint[]   NOT NULL,
    destination_throttled bigint     NOT NULL,
    destination_failed    bigint     NOT NULL,
    destination_bytes     bigint     NOT NULL,
    destination_seconds   float8     NOT NULL,
    buffer_bytes         bigint      NOT NULL,
    buffer_limit         bigint      NOT NULL,
    view                 json        NOT NULL,  -- schema.process_view.ProcessView, at the end of the interval
    PRIMARY KEY (run_id, worker_id, number)
);
