"""The lowest storey: text, files, shapes, sizes, limits and the terminal; it imports nothing else of netdsl."""
