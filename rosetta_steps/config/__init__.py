"""What config files and entries may say, held against what is known before any job."""
