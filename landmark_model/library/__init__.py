"""Many photos: tags, sidecars, and a run that survives being killed."""
