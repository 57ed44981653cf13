"""Reports on a net: tables, figures and drawings."""
