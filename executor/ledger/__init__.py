"""The PostgreSQL ledger: runs, leases, checkpoints, reports. Imported by every room above; imports only schema/."""
