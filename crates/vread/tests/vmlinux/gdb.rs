//! gdb, with the run-time form.

use std::fs;
use std::process::Command;

use vread_guests::{Guest, KernelRelease, ensure_packages};

use crate::mounted::Mounted;
use crate::processes;
use crate::program::stdout;

const SCRIPT: &str = "\
set confirm off
set pagination off
set $first = jiffies
set $next = $first
set $reads = 1
while $next == $first && $reads < 100000
  set $next = jiffies
  set $reads = $reads + 1
end
printf \"jiffies %lu %lu\\n\", $first, $next
print init_task.comm
ptype struct vm_struct
info symbol vfs_read
ptype vfs_read
disassemble vfs_read
print linux_banner
print sizeof(runqueues)
print &runqueues
whatis runqueues
printf \"cpus %d %d\\n\", ((struct rq *)((char *)&runqueues + __per_cpu_offset[0]))->cpu, \
((struct rq *)((char *)&runqueues + __per_cpu_offset[1]))->cpu
set $module = (struct module *)((char *)modules.next - (unsigned long)&((struct module *)0)->list)
printf \"module %s\\n\", $module->name
info symbol $module
set $entry = init_task.tasks.next
set $back = (unsigned long)&((struct task_struct *)0)->tasks
set $count = 0
while $entry != &init_task.tasks && $count < 10000
  set $task = (struct task_struct *)((unsigned long)$entry - $back)
  printf \"task %d %s\\n\", $task->pid, $task->comm
  if $task->pid == 1
    print $task->mm->pgd
  end
  set $entry = $entry->next
  set $count = $count + 1
end
";

/// Everything that a session on a live kernel begins with, out of the mount alone.
pub(crate) fn debugs_the_live_kernel(guest: &Guest) {
    ensure_packages(&["gdb"]).unwrap();
    let mounted = Mounted::new(guest);
    let vmlinux = mounted.kcore().with_file_name("vmlinux.kaslr");
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    // A type of a module: those came with 5.11.
    let modules_have_types = guest.kernel().release() != KernelRelease::V5_10;
    let of_a_module = match modules_have_types {
        true => "ptype struct port_buffer\n",
        false => "",
    };
    fs::write(&script, SCRIPT.to_owned() + of_a_module).unwrap();
    let before = processes(guest);
    let out = stdout(
        Command::new("gdb")
            .args(["--nx", "--batch", "--command"])
            .arg(&script)
            .arg(vmlinux)
            .arg(mounted.kcore()),
    );
    let after = processes(guest);
    let lines = |start: &str| -> Vec<String> {
        let lines = out.lines().filter_map(|line| line.strip_prefix(start));
        lines.map(str::to_owned).collect()
    };
    let line = |start: &str| {
        let found = lines(start);
        assert_eq!(found.len(), 1, "{start} in\n{out}");
        found[0].clone()
    };
    let has = |text: &str| assert!(out.contains(text), "no {text} in\n{out}");

    let jiffies: Vec<u64> = line("jiffies ")
        .split(' ')
        .map(|word| word.parse().unwrap())
        .collect();
    assert!(jiffies[1] > jiffies[0], "jiffies do not move:\n{out}");
    has("= \"swapper/0\\000");
    has("    struct vm_struct *next;");
    has("    unsigned long size;");
    has("vfs_read in section .text");
    has("type = long (struct file *, char *, size_t, loff_t *)");
    if modules_have_types {
        has("type = struct port_buffer {\n    char *buf;\n    size_t size;");
    }
    has("Dump of assembler code for function vfs_read:");
    has("<+0>:");
    has("End of assembler dump.");
    let banner = guest.read_text("/proc/version").unwrap();
    has(banner.trim().split('(').next().unwrap().trim());
    has("<runqueues>");
    has("type = struct rq");
    assert_eq!(line("cpus "), "0 1");
    // The list begins with the module that was loaded last, and so does the guest's file.
    let modules = guest.read_text("/proc/modules").unwrap();
    assert_eq!(line("module "), modules.split(' ').next().unwrap());
    has("__this_module in section .module.");
    assert!(
        out.contains("= (pgd_t *) 0xff"),
        "no page table of a process in\n{out}"
    );

    let tasks = lines("task ");
    let pid = |task: &String| task.split(' ').next().unwrap().parse::<u32>().unwrap();
    let pids: Vec<u32> = tasks.iter().map(pid).collect();
    for pid in before.intersection(&after) {
        assert!(pids.contains(pid), "process {pid} is not listed in\n{out}");
    }
    let first = guest.read_text("/proc/1/comm").unwrap();
    assert!(tasks.contains(&format!("1 {}", first.trim())), "{tasks:?}");
    println!(
        "{} tasks, {} more jiffies",
        tasks.len(),
        jiffies[1] - jiffies[0]
    );
}
