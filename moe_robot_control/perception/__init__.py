"""From RGB images to object poses: camera geometry, pose network, tracker."""
