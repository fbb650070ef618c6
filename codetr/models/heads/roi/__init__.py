"""The RoI head of Faster R-CNN and Mask R-CNN."""
