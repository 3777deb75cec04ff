"""What the gateway does under faults and load.

gateway.py   the gateway as a process: started, killed, measured
objects.py   radiographs that nobody has, the same ones for the same seed
peers.py     destinations that write down what they are sent, and senders
journal.py   what happened in a run, so that one that was cut off goes on
verdict.py   whether anything was lost: after each kill, and at the end
lost.py      kills, a destination that comes and goes, a disk that fills up
throughput.py    rate of C-STORE beside a bare loop of pynetdicom, seconds to the confirmed delivery
memory.py    resident memory over thousands of objects
"""
