"""How a simulated body is imaged: contrast agent, signal, motion, noise."""
