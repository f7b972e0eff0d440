"""What hospitals read (DICOM Segmentation) and what people look at (an HTML page)."""
