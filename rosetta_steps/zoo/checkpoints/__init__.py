"""Reading of checkpoints as data, without running any code in them."""
