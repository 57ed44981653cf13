"""Problems as data, how they are collected, and how they are shown."""
