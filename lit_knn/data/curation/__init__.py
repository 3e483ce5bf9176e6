"""Which images of the web a database is made of: hashtags and the classes that they name."""
