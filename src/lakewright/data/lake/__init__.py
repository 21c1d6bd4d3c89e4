"""The lakehouse: Delta tables under catalog.schema.table, read at pinned versions, and SQL over them."""
