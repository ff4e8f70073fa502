"""What a live kernel says to any drgn of the last years: drgn -c CORE -s VMLINUX says.py

Prints a word and what it stands for, on a line each.
"""

from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.printk import get_dmesg


def text(value):
    return value.string_().decode()


def frame_name(frame):
    # drgn 0.0.22 knows no names but those in DWARF, and BTF lacks functions of assembler.
    try:
        return frame.name or frame.symbol().name
    except LookupError:
        return hex(frame.pc)


def frames(task):
    try:
        return [frame_name(frame) for frame in prog.stack_trace(task)]
    except Exception as error:
        return [str(error).replace(" ", "_")]


modules = list_for_each_entry("struct module", prog["modules"].address_of_(), "list")
print("comm", text(prog["init_task"].comm))
print("modules", *sorted(text(module.name) for module in modules))
print("dmesg", get_dmesg(prog).decode().splitlines()[0].split("] ", 1)[1])
print("type", str(prog.type("struct sk_buff")).splitlines()[0])
for task in for_each_task(prog):
    print("stack", task.pid.value_(), *frames(task))
