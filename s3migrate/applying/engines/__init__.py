"""Where the workers of a fleet run: this machine, Dask, Ray, Slurm. An engine places processes and tells how they
ended; the ledger alone decides what they do. Imported by applying/fleet and commands/apply only.
"""
