"""Configuration of Sphinx for the folder that website/build.py prepares."""

from netdsl.base.version import VERSION
from netdsl.highlight.pygments_lexer import NetLexer

project = "netdsl"
author = "the authors of netdsl"
version = release = VERSION
extensions = ["myst_parser"]
root_doc = "index"
exclude_patterns = ["tests/**/*.md"]
myst_heading_anchors = 6
myst_enable_extensions = ["colon_fence", "html_image"]  # the latter also copies pictures of HTML
suppress_warnings = ["misc.highlighting_failure"]  # blocks that are wrong on purpose
html_theme = "furo"
html_title = "netdsl"
html_static_path = ["static"]
html_css_files = ["gallery.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False


def setup(app):
    """Register the lexer, for checkouts that are not installed."""
    app.add_lexer("net", NetLexer)
