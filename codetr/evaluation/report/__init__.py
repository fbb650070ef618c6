"""The files and the HTML report of an evaluation."""
