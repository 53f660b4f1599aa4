"""`python -m s3migrate`."""

from s3migrate.cli import main

main()
