"""aodnet: trains, evaluates and applies AOD-Net on datasets made by hazegen."""
