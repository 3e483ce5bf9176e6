"""Attack, defend, score: what one test does with a batch, and what is kept of it."""
