"""Bytes in and out: the HTTP door, polling, source images and image files."""
