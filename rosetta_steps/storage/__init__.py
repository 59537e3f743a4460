"""What lies on disk: files written whole or not at all, and manifests that say what they are."""
