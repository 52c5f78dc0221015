"""From disk to queue: watcher, settle, scan, filters."""
