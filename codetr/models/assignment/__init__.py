"""Assignment of predictions to ground truth: Hungarian, ATSS, maximum IoU, random sampling."""
