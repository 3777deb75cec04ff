"""The framing of HL7 v2 over TCP (HL7 v2, transport specification MLLP, release 1)."""

START, END = b"\x0b", b"\x1c\r"
