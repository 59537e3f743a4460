"""Training of the networks that the zoo carries with it: run once, by hand, not by the workflow."""
