"""S3 Inventory reports and key lists as listings."""
