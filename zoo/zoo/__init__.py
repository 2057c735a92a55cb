"""Models, data sets and training. Importing this package loads nothing heavy."""
