"""Where a step runs: errors, devices, memory."""
