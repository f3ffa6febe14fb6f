"""One run: its command line, folder, checkpoint, output and messages."""
