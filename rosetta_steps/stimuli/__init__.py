"""Images of files and of lists."""
