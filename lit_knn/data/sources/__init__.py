"""One file for each kind of image collection, and how each is laid out on disk."""
