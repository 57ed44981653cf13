"""The two intermediate representations: Net, what the user wrote, and Graph, what is computed."""
