"""What our claims of speed rest on: each measures itself beside a baseline in the same run."""
