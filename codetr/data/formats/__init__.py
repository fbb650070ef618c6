"""Readers of annotation formats: COCO, LVIS, Pascal VOC, YOLO."""
