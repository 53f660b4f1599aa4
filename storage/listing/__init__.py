"""Listings: strict pages, key ranges in parallel, ascending order. Imported by s3/."""
