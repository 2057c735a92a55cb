"""From a checkpoint to a release. Importing this package loads nothing heavy."""
