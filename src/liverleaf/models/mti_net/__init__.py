"""MTI-Net (Xiao et al., arXiv:2511.20793, 2025) and liverleaf-net, our form of it."""
