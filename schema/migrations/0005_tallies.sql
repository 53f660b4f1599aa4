-- What a finished chunk did is added to its batch once, and no question sums over finished chunks any more.

ALTER TABLE ledger.batch
    ADD COLUMN n_done     bigint   NOT NULL DEFAULT 0,  -- objects of its finished chunks, as are the following
    ADD COLUMN n_verified bigint   NOT NULL DEFAULT 0,
    ADD COLUMN bytes_done bigint   NOT NULL DEFAULT 0,
    ADD COLUMN outcomes   bigint[] NOT NULL DEFAULT '{0,0,0,0,0,0,0}';
UPDATE ledger.batch b
   SET n_done = n.done, n_verified = n.verified, bytes_done = n.moved,
       outcomes = ARRAY[n.o1, n.o2, n.o3, n.o4, n.o5, n.o6, n.o7]
  FROM (SELECT k.run_id, k.batch_no,
               coalesce(sum(k.n_done) FILTER (WHERE k.kind = 0), 0) AS done,
               coalesce(sum(k.n_done) FILTER (WHERE k.kind = 2), 0) AS verified, sum(k.bytes_done) AS moved,
               sum(k.outcomes[1]) AS o1, sum(k.outcomes[2]) AS o2, sum(k.outcomes[3]) AS o3, sum(k.outcomes[4]) AS o4,
               sum(k.outcomes[5]) AS o5, sum(k.outcomes[6]) AS o6, sum(k.outcomes[7]) AS o7
          FROM ledger.chunk k WHERE k.state = 3 GROUP BY k.run_id, k.batch_no) n
 WHERE b.run_id = n.run_id AND b.batch_no = n.batch_no;

-- Chunks that somebody has had in hand and that are not done. What changes at every flush stays out of the predicate,
-- so that flushes remain heap-only updates.
CREATE INDEX chunk_touched ON ledger.chunk (run_id, chunk_no) WHERE token > 0 AND state <> 3;
CREATE INDEX failure_terminal ON ledger.failure (run_id, batch_no, ord) WHERE terminal;
CREATE INDEX verification_bad ON ledger.verification (run_id, batch_no, ord) WHERE NOT ok;
