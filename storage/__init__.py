"""S3: endpoints and credentials, the wire, listings, object operations, error translation."""
