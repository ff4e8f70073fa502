"""What each CPU is at: the name of its task, whether the stack ends where the CPU stood and the kernel's own table
knows no way out, whether it comes from a program through the kernel's entries or has none of the kernel on it, and the
functions on it, innermost first: those of a module, whose names drgn does not know, by the
module's name."""

import bisect
import struct

from drgn.helpers.linux.cpumask import for_each_online_cpu
from drgn.helpers.linux.module import address_to_module
from drgn.helpers.linux.sched import cpu_curr


def between(start, stop, format):
    start, stop = prog.symbol(start).address, prog.symbol(stop).address
    return start, list(struct.iter_unpack(format, prog.read(start, stop - start)))


# struct orc_entry: sp_offset, bp_offset, and bits whose lowest four are sp_reg; 0 is ORC_REG_UNDEFINED.
base, offsets = between("__start_orc_unwind_ip", "__stop_orc_unwind_ip", "<i")
starts = [base + 4 * number + offset for number, (offset,) in enumerate(offsets)]
_, entries = between("__start_orc_unwind", "__stop_orc_unwind", "<hhH")
text = range(prog.symbol("_stext").address, prog.symbol("_etext").address)
entry_text = range(prog.symbol("__entry_text_start").address, prog.symbol("__entry_text_end").address)


def is_dead_end(frame):
    _, _, bits = entries[bisect.bisect_right(starts, frame.pc) - 1]
    return frame.interrupted and frame.pc in text and bits & 0xF == 0


def is_entered(trace):
    *kernel, outermost = trace
    return outermost.pc < 1 << 63 and (not kernel or kernel[-1].pc in entry_text)


def name(frame):
    module = frame.name.startswith("0x") and address_to_module(prog, frame.pc)
    return f"[{module.name.string_().decode()}]" if module else frame.name


for cpu in for_each_online_cpu(prog):
    task = cpu_curr(prog, cpu)
    trace = prog.stack_trace(task)
    end = "dead-end" if is_dead_end(trace[len(trace) - 1]) else "way-out"
    way = "entered" if is_entered(trace) else "inside"
    print(task.comm.string_().decode(), end, way, *(name(frame) for frame in trace))
