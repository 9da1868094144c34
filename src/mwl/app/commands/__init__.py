"""What commands of `mwl` do with their flags."""
