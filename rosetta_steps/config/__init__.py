"""Reading and validation of config files and zoo entries, before any job runs."""
