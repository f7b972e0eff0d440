"""De-identification of DICOM by an allow-list (PS3.15 Basic Profile), and pseudonyms."""
