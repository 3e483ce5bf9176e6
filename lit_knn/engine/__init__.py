"""The Trainer, the folder of a run, and what happens around it."""
