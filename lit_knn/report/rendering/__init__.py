"""One document, as a web page and as Markdown."""
