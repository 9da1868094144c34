"""Demonstrations as data: the format, the recorder, and exchange with other formats."""
