"""What is told about a net: tables and figures."""
