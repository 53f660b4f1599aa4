-- The ledger, version 1. PostgreSQL 13 or newer.
--
-- What may change lives in few rows: run, stage, batch, chunk. What happened to an object is one row that is
-- written once (completion, verification) or one row per failed attempt (failure). Nothing here needs a session
-- lock, LISTEN or a temporary table, so a transaction-pooling proxy may stand in front.

CREATE SCHEMA IF NOT EXISTS ledger;

CREATE TABLE ledger.schema_version (
    version    int         PRIMARY KEY,
    name       text        NOT NULL,
    sha256     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    applied_by text        NOT NULL DEFAULT current_user
);

-- One accepted plan. State: 1 open, 2 paused, 3 draining, 4 complete, 5 failed, 6 superseded.
CREATE TABLE ledger.run (
    run_id       int         GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    plan_id      text        NOT NULL UNIQUE,
    lineage      text        NOT NULL,
    serial       int         NOT NULL,
    name         text        NOT NULL,
    plan         json        NOT NULL,
    state        smallint    NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 6),
    epoch        int         NOT NULL DEFAULT 1,
    objects      bigint      NOT NULL,
    bytes        bigint      NOT NULL,
    chunks_left  int         NOT NULL,
    audit_seq    bigint      NOT NULL DEFAULT 0,
    audit_head   bytea       NOT NULL DEFAULT '\x',
    created_at   timestamptz NOT NULL DEFAULT now(),
    created_by   text        NOT NULL,
    tool_version text        NOT NULL,
    finished_at  timestamptz,
    UNIQUE (lineage, serial)
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX run_one_open_per_lineage ON ledger.run (lineage) WHERE state IN (1, 2, 3);

-- Who may write under a destination prefix. All rows of a run share one lock_id.
CREATE TABLE ledger.scope_lock (
    endpoint     text        NOT NULL,
    bucket       text        NOT NULL,
    prefix       bytea       NOT NULL,
    run_id       int         NOT NULL REFERENCES ledger.run,
    lock_id      uuid        NOT NULL,
    operation    text        NOT NULL,
    who          text        NOT NULL,
    tool_version text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (endpoint, bucket, prefix)
);

CREATE TABLE ledger.worker (
    worker_id    int         GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id       int         NOT NULL REFERENCES ledger.run,
    epoch        int         NOT NULL,
    host         text        NOT NULL,
    pid          int         NOT NULL,
    tool_version text        NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    last_seen    timestamptz NOT NULL DEFAULT now(),
    stopped_at   timestamptz,
    exit_code    smallint
) WITH (fillfactor = 50);
CREATE INDEX worker_run ON ledger.worker (run_id);

-- A limit set while the run goes on; every process reads it.
CREATE TABLE ledger.run_limit (
    run_id int              NOT NULL REFERENCES ledger.run,
    name   text             NOT NULL,
    value  double precision NOT NULL,
    set_at timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, name)
);

-- A node of the DAG. State: 0 blocked, 1 open, 2 passed. Gate: the batch state its dependants wait for.
CREATE TABLE ledger.stage (
    run_id       int      NOT NULL REFERENCES ledger.run,
    stage_no     int      NOT NULL,
    stage_id     text     NOT NULL,
    gate         smallint NOT NULL CHECK (gate IN (3, 4)),
    state        smallint NOT NULL CHECK (state BETWEEN 0 AND 2),
    batches_left int      NOT NULL CHECK (batches_left >= 0),
    PRIMARY KEY (run_id, stage_no)
) WITH (fillfactor = 50);
CREATE TABLE ledger.stage_dependency (
    run_id   int NOT NULL,
    stage_no int NOT NULL,
    needs_no int NOT NULL,
    PRIMARY KEY (run_id, stage_no, needs_no)
);

-- The unit of review: one manifest. State: 0 blocked, 1 ready, 3 copied, 4 verified.
CREATE TABLE ledger.batch (
    run_id      int      NOT NULL REFERENCES ledger.run,
    batch_no    int      NOT NULL,
    batch_id    text     NOT NULL,
    section     text     NOT NULL,
    stage_no    int      NOT NULL,
    manifest    text     NOT NULL,
    objects     int      NOT NULL,
    bytes       bigint   NOT NULL,
    state       smallint NOT NULL CHECK (state IN (0, 1, 3, 4)),
    copy_left   int      NOT NULL CHECK (copy_left >= 0),
    verify_left int      NOT NULL CHECK (verify_left >= 0),
    PRIMARY KEY (run_id, batch_no),
    UNIQUE (run_id, batch_id)
) WITH (fillfactor = 50);

-- The unit of claim, lease and fence. Kind: 0 objects, 2 verify. Lane: 0 whole, 1 parts.
-- State: 0 blocked, 1 ready, 2 leased, 3 done, 4 parked. `epoch` is the run's at the claim.
CREATE TABLE ledger.chunk (
    run_id         int         NOT NULL,
    chunk_no       int         NOT NULL,
    batch_no       int         NOT NULL,
    kind           smallint    NOT NULL CHECK (kind IN (0, 2)),
    lane           smallint    NOT NULL CHECK (lane IN (0, 1)),
    lo             int         NOT NULL CHECK (lo >= 0),
    hi             int         NOT NULL CHECK (hi > lo),
    priority       int         NOT NULL,
    state          smallint    NOT NULL CHECK (state BETWEEN 0 AND 4),
    token          int         NOT NULL DEFAULT 0,
    epoch          int         NOT NULL DEFAULT 0,
    lease_id       uuid,
    worker_id      int,
    lease_until    timestamptz,
    not_before     timestamptz,
    n_done         int         NOT NULL DEFAULT 0,
    n_bad          int         NOT NULL DEFAULT 0,
    bytes_done     bigint      NOT NULL DEFAULT 0,
    outcomes       int[]       NOT NULL DEFAULT '{0,0,0,0,0,0,0}',
    digest         bytea,
    PRIMARY KEY (run_id, chunk_no),
    CHECK (n_done + n_bad <= hi - lo)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);
CREATE INDEX chunk_ready ON ledger.chunk (run_id, lane, priority, chunk_no) WHERE state = 1;
-- lease_until stays out of every index, so that flushes and heartbeats are heap-only updates.
CREATE INDEX chunk_leased ON ledger.chunk (run_id, chunk_no) WHERE state = 2;
CREATE INDEX chunk_batch ON ledger.chunk (run_id, batch_no);

-- Append-only, one row per finished object; keys live in the manifest. Outcome: 1 copied, 2 already there,
-- 3 source changed, 4 source gone, 5 deleted, 6 marker laid, 7 conflict. Written by COPY into the run's partition.
CREATE TABLE ledger.completion (
    finished_at         timestamptz NOT NULL DEFAULT now(),
    size                bigint      NOT NULL,
    run_id              int         NOT NULL,
    batch_no            int         NOT NULL,
    ord                 int         NOT NULL,
    token               int         NOT NULL,
    outcome             smallint    NOT NULL CHECK (outcome BETWEEN 1 AND 7),
    attempts            smallint    NOT NULL,
    destination_etag    text        NOT NULL,
    checksum            bytea       NOT NULL,
    destination_version text,
    PRIMARY KEY (run_id, batch_no, ord)
) PARTITION BY LIST (run_id);

CREATE TABLE ledger.failure (
    at          timestamptz NOT NULL DEFAULT now(),
    run_id      int         NOT NULL,
    batch_no    int         NOT NULL,
    ord         int         NOT NULL,
    token       int         NOT NULL,
    kind        smallint    NOT NULL,
    attempt     int         NOT NULL,
    terminal    boolean     NOT NULL,
    worker_id   int         NOT NULL,
    http_status smallint    NOT NULL,
    error_code  text        NOT NULL,
    message     text        NOT NULL,
    request_id  text        NOT NULL,
    PRIMARY KEY (run_id, batch_no, ord, token, kind, attempt)
) PARTITION BY LIST (run_id);

-- Append-only. At most one row says ok; a later claim may judge again what was not.
CREATE TABLE ledger.verification (
    at       timestamptz NOT NULL DEFAULT now(),
    run_id   int         NOT NULL,
    batch_no int         NOT NULL,
    ord      int         NOT NULL,
    token    int         NOT NULL,
    ok       boolean     NOT NULL,
    detail   text        NOT NULL,
    PRIMARY KEY (run_id, batch_no, ord, token)
) PARTITION BY LIST (run_id);
CREATE UNIQUE INDEX verification_ok ON ledger.verification (run_id, batch_no, ord) WHERE ok;

-- Multipart uploads, bucket and key included so that they can be aborted without the manifest.
-- State: 1 open, 2 replaced by a newer upload of the same object and still to be aborted.
CREATE TABLE ledger.upload (
    run_id         int         NOT NULL REFERENCES ledger.run,
    batch_no       int         NOT NULL,
    ord            int         NOT NULL,
    upload_id      text        NOT NULL,
    state          smallint    NOT NULL CHECK (state IN (1, 2)),
    bucket         text        NOT NULL,
    key            bytea       NOT NULL,
    source_etag    text        NOT NULL,
    source_version text,
    source_size    bigint      NOT NULL,
    part_size      bigint      NOT NULL,
    parts          int         NOT NULL CHECK (parts BETWEEN 1 AND 10000),
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, batch_no, ord, upload_id)
);
CREATE UNIQUE INDEX upload_one_open ON ledger.upload (run_id, batch_no, ord) WHERE state = 1;
CREATE TABLE ledger.upload_part (
    run_id    int    NOT NULL,
    batch_no  int    NOT NULL,
    ord       int    NOT NULL,
    upload_id text   NOT NULL,
    part_no   int    NOT NULL CHECK (part_no BETWEEN 1 AND 10000),
    size      bigint NOT NULL,
    etag      text   NOT NULL,
    checksum  bytea  NOT NULL,
    PRIMARY KEY (run_id, batch_no, ord, upload_id, part_no),
    FOREIGN KEY (run_id, batch_no, ord, upload_id) REFERENCES ledger.upload ON DELETE CASCADE
);

-- What a worker is about to do that cannot be undone; durable before the request is sent.
CREATE TABLE ledger.intent (
    at       timestamptz NOT NULL DEFAULT now(),
    run_id   int         NOT NULL REFERENCES ledger.run,
    batch_no int         NOT NULL,
    ord      int         NOT NULL,
    token    int         NOT NULL,
    what     text        NOT NULL
);
CREATE INDEX intent_object ON ledger.intent (run_id, batch_no, ord);

-- One hash chain per run: a row's hash covers its own fields and the hash before it; run.audit_head is the last.
CREATE TABLE ledger.audit (
    run_id int         NOT NULL REFERENCES ledger.run,
    seq    bigint      NOT NULL,
    at     timestamptz NOT NULL,
    actor  text        NOT NULL,
    kind   text        NOT NULL,
    body   text        NOT NULL,
    hash   bytea       NOT NULL,
    PRIMARY KEY (run_id, seq)
);
CREATE INDEX audit_kind ON ledger.audit (run_id, kind);

CREATE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'ledger.% is append-only', TG_TABLE_NAME;
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON ledger.audit
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON ledger.audit
    EXECUTE FUNCTION ledger.refuse_change();

-- Texts of free length are preceded by their length, so that no two rows spell the same bytes.
CREATE FUNCTION ledger.audit_hash(prev bytea, seq bigint, at timestamptz, actor text, kind text, body text)
RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(prev || convert_to(concat(
        seq, ' ', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), ' ',
        length(actor), ':', actor, ' ', length(kind), ':', kind, ' ', length(body), ':', body), 'UTF8'))
$$;

-- The row lock on run puts the events of all processes in one order.
CREATE FUNCTION ledger.audit_append(the_run int, actor text, kind text, body text)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    next_seq bigint;
    head     bytea;
    moment   timestamptz;
BEGIN
    SELECT r.audit_seq + 1, r.audit_head INTO STRICT next_seq, head
      FROM ledger.run r WHERE r.run_id = the_run FOR NO KEY UPDATE;
    moment := clock_timestamp();
    head := ledger.audit_hash(head, next_seq, moment, actor, kind, body);
    INSERT INTO ledger.audit (run_id, seq, at, actor, kind, body, hash)
    VALUES (the_run, next_seq, moment, actor, kind, body, head);
    UPDATE ledger.run SET audit_seq = next_seq, audit_head = head WHERE run_id = the_run;
    RETURN next_seq;
END
$$;

-- sha256 over the completion rows of [first, last) of a batch, in order of ord; what a chunk's digest means.
CREATE FUNCTION ledger.completion_digest(the_run int, the_batch int, first int, last int)
RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(convert_to(coalesce(string_agg(concat(
               c.ord, ' ', c.token, ' ', c.outcome, ' ', c.attempts, ' ', c.size, ' ', encode(c.checksum, 'hex'), ' ',
               length(c.destination_etag), ':', c.destination_etag, ' ', 'v' || c.destination_version),
               E'\n' ORDER BY c.ord), ''), 'UTF8'))
      FROM ledger.completion c
     WHERE c.run_id = the_run AND c.batch_no = the_batch AND c.ord >= first AND c.ord < last
$$;

-- The same for a verify chunk: over the rows that say ok.
CREATE FUNCTION ledger.verification_digest(the_run int, the_batch int, first int, last int)
RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(convert_to(coalesce(string_agg(concat(v.ord, ' ', v.token, ' ', v.detail),
               E'\n' ORDER BY v.ord), ''), 'UTF8'))
      FROM ledger.verification v
     WHERE v.run_id = the_run AND v.batch_no = the_batch AND v.ord >= first AND v.ord < last AND v.ok
$$;

-- A run's own partitions, made apart and then attached: CREATE TABLE ... PARTITION OF would lock the parent
-- against everybody, and so make a new run wait for every long report of the others.
CREATE FUNCTION ledger.open_partitions(the_run int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    options text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['completion', 'failure', 'verification'] LOOP
        options := CASE parent WHEN 'completion'
            THEN ' WITH (autovacuum_freeze_min_age = 0, autovacuum_vacuum_insert_scale_factor = 0.1)' ELSE '' END;
        EXECUTE format('CREATE TABLE ledger.%1$s_r%2$s (LIKE ledger.%1$s INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
                       parent, the_run) || options;
        EXECUTE format('ALTER TABLE ledger.%1$s ATTACH PARTITION ledger.%1$s_r%2$s FOR VALUES IN (%2$s)',
                       parent, the_run);
    END LOOP;
END
$$;
