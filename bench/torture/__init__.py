"""Real relay processes, under the load of real clients, to which is done what can be done to them.

A round is one fault on one relay: clients connect and write, the fault strikes, the relay is
started again, everybody comes home, every inbox is read once more, the history is judged by the
checker and the store by `verify`. A campaign is round after round until its time is over.
"""
