"""What a training run tells: metrics file, progress line, tracker."""
