"""A net as a drawing: layers from top to bottom, blocks and rounds as boxes, equal rounds as one."""
