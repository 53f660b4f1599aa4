-- Faults of single objects, which must not hold back a stage; and the keys of what went wrong, so that status can name
-- them without the manifests.
ALTER TABLE ledger.chunk ADD COLUMN n_own int NOT NULL DEFAULT 0;  -- of n_bad: objects that failed by their own fault
ALTER TABLE ledger.failure
    ADD COLUMN key text    NOT NULL DEFAULT '',
    ADD COLUMN own boolean NOT NULL DEFAULT false;
ALTER TABLE ledger.verification
    ADD COLUMN key text    NOT NULL DEFAULT '',  -- of what is not ok
    ADD COLUMN own boolean NOT NULL DEFAULT false;
