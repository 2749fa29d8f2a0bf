"""File systems that `ObjectStoragePath` finds by their scheme."""
