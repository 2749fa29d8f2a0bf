"""File systems that `ObjectStoragePath` finds by their scheme. Nothing here reads rows: `inference/inputs/` does."""
