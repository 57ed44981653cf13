"""Other tools' models as `.net` texts: readers make a flat list, which is printed, compiled again and compared."""
