"""hazegen: physically right hazy/clean image pairs from photos and depth maps."""
