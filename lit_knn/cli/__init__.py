"""The command line: light to start, one sentence for each mistake."""
