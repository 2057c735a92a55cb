"""The commands of this room. Each file imports what is heavy only when its command runs."""
