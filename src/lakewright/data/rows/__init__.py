"""The rows of a table on their way to examples: what they say, which are alike, which split they are in."""
