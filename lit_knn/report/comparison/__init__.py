"""Two runs beside each other: which results differ, by how much, whether beyond sampling error; no PyTorch."""
