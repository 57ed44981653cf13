"""Problems as data, their collection, and their presentation."""
