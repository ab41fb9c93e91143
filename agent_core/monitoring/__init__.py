"""What programs may know of a running agent, by HTTP on this machine: does it live, is it ready, how does it fare."""
