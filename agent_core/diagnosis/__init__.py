"""Why an agent does not connect: looks, stage by stage, and what follows from them."""
