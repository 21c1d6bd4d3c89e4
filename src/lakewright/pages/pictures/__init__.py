"""The pages' pictures, by what they show. Each function draws a Figure; `drawing` makes a page's or a file's of it."""
