-- Three roles for the ledger. Run it after the schema, as a superuser or as a role that may create roles and owns the
-- schema; run it again after a migration. Nothing in it logs in: give each person or service a login of its own,
--     CREATE ROLE migrator LOGIN PASSWORD '...' IN ROLE s3migrate_worker;
--
--   s3migrate_owner   owns everything, applies migrations. Nobody works as it.
--   s3migrate_worker  apply, verify, retry, cleanup, limit, unlock. Owns nothing and creates nothing; may append what
--                     happened to an object and can never delete it, nor change it but by the function that replaces
--                     the completion of an object that was written again, which `ledger check` finds unless the audit
--                     chain tells of it; writes to the audit chain only by the function that computes the chain.
--   s3migrate_reader  status, explain, report, ledger check: reads.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['s3migrate_owner', 's3migrate_worker', 's3migrate_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
END
$$;

DO $$
DECLARE
    name regclass;
    routine regprocedure;
BEGIN
    ALTER SCHEMA ledger OWNER TO s3migrate_owner;
    FOR name IN SELECT oid FROM pg_catalog.pg_class
                 WHERE relnamespace = 'ledger'::regnamespace AND relkind IN ('r', 'p', 'v') LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO s3migrate_owner', name);
        EXECUTE format('REVOKE ALL ON TABLE %s FROM PUBLIC', name);
    END LOOP;
    FOR routine IN SELECT oid FROM pg_catalog.pg_proc WHERE pronamespace = 'ledger'::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO s3migrate_owner', routine);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', routine);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO s3migrate_worker', routine);
    END LOOP;
    -- A run's partitions of the three append-only tables, those that are there already.
    FOR name IN SELECT inhrelid FROM pg_catalog.pg_inherits
                 WHERE inhparent IN ('ledger.completion'::regclass, 'ledger.failure'::regclass,
                                     'ledger.verification'::regclass) LOOP
        EXECUTE format('GRANT SELECT, INSERT ON TABLE %s TO s3migrate_worker', name);
    END LOOP;
END
$$;

-- What needs the owner's rights is done by three functions and nothing else: a new run's partitions are made, the audit
-- chain grows by one, and a completion is replaced.
ALTER FUNCTION ledger.open_partitions(int) SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION ledger.audit_append(int, text, text, text) SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION ledger.replace_completion(int, int, int, text, bytea, text)
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

-- Partitions made later.
ALTER DEFAULT PRIVILEGES FOR ROLE s3migrate_owner IN SCHEMA ledger GRANT SELECT, INSERT ON TABLES TO s3migrate_worker;
ALTER DEFAULT PRIVILEGES FOR ROLE s3migrate_owner IN SCHEMA ledger GRANT SELECT ON TABLES TO s3migrate_reader;

GRANT USAGE ON SCHEMA ledger TO s3migrate_worker, s3migrate_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO s3migrate_worker, s3migrate_reader;
GRANT EXECUTE ON FUNCTION ledger.audit_hash(bytea, bigint, timestamptz, text, text, text),
    ledger.completion_digest(int, int, int, int), ledger.verification_digest(int, int, int, int) TO s3migrate_reader;

-- Append-only.
GRANT INSERT ON ledger.completion, ledger.failure, ledger.verification, ledger.intent, ledger.flow_sample
    TO s3migrate_worker;

-- What a run is made of is written once; where it stands changes.
GRANT INSERT ON ledger.run, ledger.worker, ledger.stage, ledger.stage_dependency, ledger.batch, ledger.chunk
    TO s3migrate_worker;
GRANT UPDATE (state, epoch, chunks_left, finished_at) ON ledger.run TO s3migrate_worker;
GRANT UPDATE (last_seen, stopped_at, exit_code, seen) ON ledger.worker TO s3migrate_worker;
GRANT UPDATE (state, batches_left) ON ledger.stage TO s3migrate_worker;
GRANT UPDATE (state, copy_left, verify_left, n_done, n_verified, bytes_done, outcomes) ON ledger.batch
    TO s3migrate_worker;
GRANT UPDATE (state, token, epoch, lease_id, worker_id, lease_until, not_before, n_done, n_bad, n_own, bytes_done,
    outcomes, digest) ON ledger.chunk TO s3migrate_worker;

-- What is held for a time: the destination, limits, closed hours, uploads in progress.
GRANT INSERT, DELETE ON ledger.scope_lock TO s3migrate_worker;
GRANT INSERT, UPDATE (value, set_at) ON ledger.run_limit TO s3migrate_worker;
GRANT INSERT, DELETE ON ledger.closed_hours TO s3migrate_worker;
GRANT INSERT, DELETE, UPDATE (state) ON ledger.upload TO s3migrate_worker;
GRANT INSERT, DELETE, UPDATE (size, etag, checksum) ON ledger.upload_part TO s3migrate_worker;
