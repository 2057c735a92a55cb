"""What a released model must obey, checked with nothing but a backend that runs it.

The export runs these checks before it writes a release, and ``zoo verify`` on any release, in the same way. Checks that
OpenKIM has carry its names: https://openkim.org/doc/evaluation/kim-tests.
"""
