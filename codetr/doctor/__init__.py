"""The data doctor: examine a dataset, show the findings in the terminal or as a page, and write a repaired copy."""
