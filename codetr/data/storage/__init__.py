"""Where image bytes come from: folders, tar files, S3, the cache; and which paths are safe."""
