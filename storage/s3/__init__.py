"""S3 operations over the wire: requests built, answers read, errors translated. Imported by probe/ and open_store."""
