"""A robot that lives in the browser: it is told what to do, pushed and loaded while it acts."""
