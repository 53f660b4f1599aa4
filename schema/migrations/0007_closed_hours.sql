-- When a run's calendar lets nothing run: written for some weeks ahead whenever a process accepts or resumes the run, so
-- that the view need not know what a calendar is, nor its time zones.
CREATE TABLE ledger.closed_hours (
    run_id int         NOT NULL REFERENCES ledger.run ON DELETE CASCADE,
    begins timestamptz NOT NULL,
    ends   timestamptz NOT NULL CHECK (ends > begins),
    PRIMARY KEY (run_id, begins)
);

CREATE OR REPLACE VIEW ledger.scaling AS
SELECT r.run_id, r.plan_id, r.name, k.ready_chunks, k.leased_chunks, k.objects_left, k.bytes_left, w.workers,
       CASE WHEN r.state <> 1 THEN 'paused'
            WHEN h.closed THEN 'closed'
            WHEN w.workers > 0 AND w.waiting = w.workers THEN 'waiting'  -- for an endpoint, as its workers say
            WHEN k.ready_chunks + k.leased_chunks = 0 AND k.not_yet > 0 THEN 'restoring'
            WHEN k.ready_chunks + k.leased_chunks = 0 THEN 'nothing ready'
            WHEN w.throttled THEN 'throttled'
            ELSE 'working' END AS reason,
       CASE WHEN r.state <> 1 OR h.closed OR (w.workers > 0 AND w.waiting = w.workers) THEN 0
            ELSE least(k.ready_chunks + k.leased_chunks,
                       -- A worker starts for 5,000 objects or 8 GiB; fewer are not worth its start.
                       greatest(1, ceil(k.objects_left / 5000.0), ceil(k.bytes_left / 8589934592.0)),
                       -- More workers than a throttling endpoint has now would only be refused.
                       CASE WHEN w.throttled THEN greatest(1, w.workers) END) END::int AS desired_workers
  FROM ledger.run r
  CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE c.now_ready) AS ready_chunks,
           count(*) FILTER (WHERE c.state = 2) AS leased_chunks,
           count(*) FILTER (WHERE c.state = 1 AND NOT c.now_ready) AS not_yet,
           coalesce(sum(c.left_over) FILTER (WHERE c.now_ready OR c.state = 2), 0)::bigint AS objects_left,
           coalesce(sum(c.left_over * c.mean) FILTER (WHERE c.now_ready OR c.state = 2), 0)::bigint AS bytes_left
      FROM ((SELECT c.state, c.state = 1 AND (c.not_before IS NULL OR c.not_before <= now()) AS now_ready,
                   greatest(c.hi - c.lo - c.n_done - c.n_bad, 0) AS left_over,
                   b.bytes::numeric / greatest(b.objects, 1) AS mean
              FROM ledger.chunk c JOIN ledger.batch b ON b.run_id = c.run_id AND b.batch_no = c.batch_no
             WHERE c.run_id = r.run_id AND c.state = 1 LIMIT 5000)
            UNION ALL
            (SELECT c.state, false, greatest(c.hi - c.lo - c.n_done - c.n_bad, 0),
                   b.bytes::numeric / greatest(b.objects, 1)
              FROM ledger.chunk c JOIN ledger.batch b ON b.run_id = c.run_id AND b.batch_no = c.batch_no
             WHERE c.run_id = r.run_id AND c.state = 2 LIMIT 5000)) c) k
  CROSS JOIN LATERAL (
    SELECT count(*) AS workers,
           count(*) FILTER (WHERE x.seen ->> 'waiting' IS NOT NULL) AS waiting,
           coalesce(bool_or((SELECT bool_or((e.value ->> 'throttled')::float > 0.05)
                               FROM json_each(x.seen -> 'endpoints') e)), false) AS throttled
      FROM ledger.worker x
     WHERE x.run_id = r.run_id AND x.epoch = r.epoch AND x.stopped_at IS NULL
       AND x.last_seen > now() - interval '1 minute') w
  CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT 1 FROM ledger.closed_hours c
                    WHERE c.run_id = r.run_id AND c.begins <= now() AND c.ends > now())
       AND NOT EXISTS (SELECT 1 FROM ledger.run_limit l
                        WHERE l.run_id = r.run_id AND l.name = 'closed' AND l.value = 0) AS closed) h
 WHERE r.state IN (1, 2, 3);
