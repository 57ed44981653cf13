"""The canonical style of `.net` texts: tokens and comments laid out anew, with the author's line breaks."""
