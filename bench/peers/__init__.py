"""This relay beside what people would pick instead, each driven in the same shapes, in turns."""
