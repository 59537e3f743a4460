"""Where maps come from: a store, a running model; their sizes, sums and splits."""
