"""Operators, each with one public function and one or more implementations."""
