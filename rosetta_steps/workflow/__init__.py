"""What the rules compute while the workflow is read: typed and tested, and nothing heavy."""
