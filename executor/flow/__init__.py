"""How fast: concurrency, pace, limits, breaker and retry budget, one governor for each endpoint. Knows no S3 object."""
