"""Tests of the check itself, against programs made for them."""
