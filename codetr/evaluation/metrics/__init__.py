"""COCO and LVIS metrics, equal to those of pycocotools and lvis."""
