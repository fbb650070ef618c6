"""Drawing on images, plots and HTML pages."""
