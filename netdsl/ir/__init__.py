"""The two representations in the middle: Net, what the user wrote, and Graph, what is computed."""
