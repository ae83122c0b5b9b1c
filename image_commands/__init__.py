"""The command line, one module a command; `image_cli.py` puts them together."""
