"""Files and stores that are written atomically, and manifests that describe their content."""
