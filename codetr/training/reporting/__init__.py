"""Reports of a training run: metrics file, progress line, tracker."""
