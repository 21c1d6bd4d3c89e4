"""The verbs as Python functions: what `lakewright.__all__` hands out, and all that the command line calls."""
