"""The lab kit: labs read from their sources, graders with a sandbox, proofs of the graders, a course.

    lab.py       a lab as its graders see it: what is given, what the student writes, what tests it
    judge.py     one task judged alone: the student's cell, everything else from the reference
    guard.py     what student code may not do in the process that judges it
    worker.py    a submission judged task by task, each in a process of its own with limits
    sandbox.py   the worker shut in: no network, no sources, no other students' work
    prove.py     the graders proved: reference, release, alternatives, mutants, hostile submissions
    course.py    an instructor's course on nbgrader: release, collect, grade, feedback, export
"""
