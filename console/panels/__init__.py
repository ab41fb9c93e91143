"""What the console shows: pure drawings of a view, and the two widgets that put them on the screen."""
