"""Learning a residual around experts in a world that differs from theirs."""
