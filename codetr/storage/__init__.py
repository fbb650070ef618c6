"""Objects by key in a folder or an S3-compatible bucket, for the registry and the store of results."""
