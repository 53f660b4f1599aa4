"""Signed HTTP requests and their answers. Imported by s3/ and probe/; knows no S3 operation."""
