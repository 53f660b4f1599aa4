-- A completion is otherwise only appended. It is replaced when our own write turned out to hold other bytes and was
-- written again; the audit chain keeps what it said before.
CREATE FUNCTION ledger.replace_completion(
    the_run int, the_batch int, the_ord int, new_etag text, new_checksum bytea, new_version text
) RETURNS void LANGUAGE sql AS $$
    UPDATE ledger.completion
       SET destination_etag = new_etag, checksum = new_checksum, destination_version = new_version
     WHERE run_id = the_run AND batch_no = the_batch AND ord = the_ord
$$;
