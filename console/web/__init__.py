"""The attached console in a browser on this machine: a page, and a process of the console's for each page that is open."""
