//! Links between devices, and downloads from many of them at once.
