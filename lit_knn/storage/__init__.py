"""Files that are whole or not there, and what tells whose they are."""
