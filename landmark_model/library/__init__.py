"""Many photos: an index that survives everything, its exports, and sidecars."""
