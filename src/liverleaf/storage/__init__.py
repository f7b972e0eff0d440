"""Case folders and volumes on disk."""
