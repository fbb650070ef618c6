"""Why an evaluation has the numbers it has: TIDE errors, confusion, calibration."""
