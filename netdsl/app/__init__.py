"""What netdsl does, one file per use case, for the command line and Python alike."""
