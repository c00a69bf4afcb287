collect_ignore = ["fixtures"]  # its script needs PyTorch
