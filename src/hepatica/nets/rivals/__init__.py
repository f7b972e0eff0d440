"""The networks that MTI-Net is compared with: one file per kind."""
