"""What `overhead.py` measures (`cases`), how a way is run and watched (`execution`), what is made of it (`results`)."""
