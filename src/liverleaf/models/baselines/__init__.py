"""The networks that MTI-Net's paper compares itself with."""
