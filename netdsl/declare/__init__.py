"""One way to declare named things with arguments."""
