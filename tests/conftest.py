"""Puts this folder on the path (pytest does so for a folder with a conftest), so that tests share `synthetic`."""
