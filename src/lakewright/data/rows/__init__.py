"""The rows of a table on their way to examples: their content, which are alike, and their split."""
