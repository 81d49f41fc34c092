"""Thin adapters between the engine and Ray Tune: searcher, scheduler, trainable, tuner. The only home of Ray.

Tune places trials on workers and carries messages; what runs next and what stops is the engine's. Tune's own trial
ids are throw-away tickets: a trial of ours that lost its worker comes back under a new ticket.
"""
