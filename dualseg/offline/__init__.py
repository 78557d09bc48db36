"""Runs on a machine without a network: packed here, done there, collected here.

`pack` writes a parcel; `work` goes on with its runs there, by the piece, with nothing but Python,
PyTorch, NumPy and h5py; `results` brings finished runs back. Measured is here.
"""
