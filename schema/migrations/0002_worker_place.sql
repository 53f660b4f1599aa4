-- Which process a worker is, so that one that died can be told from one that is slow; and what it sees of the
-- endpoints, so that status can show it.
ALTER TABLE ledger.worker
    ADD COLUMN place       text   NOT NULL DEFAULT '',  -- boot id and pid namespace: where `pid` means something
    ADD COLUMN pid_started bigint NOT NULL DEFAULT 0,   -- clock ticks since boot, so that a pid used again is not it
    ADD COLUMN seen        json;                        -- its last snapshot; worker.last_seen says from when
