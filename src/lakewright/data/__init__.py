"""Rows before anything is learned from them: their tables, their sources, and the facts known about them."""
