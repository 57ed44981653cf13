"""Draw a net: layers from top to bottom, blocks and rounds of loops as boxes, equal rounds once."""
