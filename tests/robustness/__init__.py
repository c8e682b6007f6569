"""Programs that try to make this package lie or fall over: seeded random mistakes, one after the other.

python -m tests.robustness --long --out results.json   the long form, about 20 minutes on one core
python -m tests.robustness damage arrays               the short form of two programs, as pytest runs it
python -m tests.robustness damage --case 1234          one case again, with the traceback where there is one

Each case ends in one of four ways. REFUSED: one line says what is wrong. RIGHT: the input was taken, and every number
is what it has to be. SILENT: it was taken without a word and a number is wrong. TRACEBACK: an error that is no
`UserError`, a message of several lines, an exit code that has no meaning, or no end within the time limit.
"""
