"""Rows before anything is learned from them: where they lie, where they come from, what is known of them."""
