"""Judges what clients saw of a relay, from a recorded history alone.

Nothing here imports the relay, its actors, its storage or the protocol's own code: what is judged
must not take part in the judgement. The format of a history is in `docs/history.md`.

    reading      a file → records                  records     what a history is made of
    loading      records → story                   story       what happened, in columns
    index        what follows from it, once        digests     marks, and the chain a second time
    invariants/  one promise each                  verdict     examined, violated, the excerpt
    check        all of them → report              printing    the report, for people
"""
