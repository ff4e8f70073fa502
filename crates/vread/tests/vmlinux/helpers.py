"""Helpers of drgn on a core and a vmlinux: helpers.py CORE VMLINUX

Prints a line for each: name, a tab, `ok` or the exception, a tab, what it said. What it says of a live
kernel changes; those that the test compares with the guest's own word come first.
"""

import itertools
import sys

import drgn
from drgn import Object, cast, container_of
from drgn.helpers.linux import *
from drgn.helpers.linux.boot import kaslr_offset, pgtable_l5_enabled
from drgn.helpers.linux.kallsyms import module_kallsyms
from drgn.helpers.linux.locking import rwsem_owner
from drgn.helpers.linux.timekeeping import *

prog = drgn.Program()
prog.set_core_dump(sys.argv[1])
prog.load_debug_info([sys.argv[2]])

init = find_task(prog, 1)
modules = list(for_each_module(prog))
net = prog["init_net"].address_of_()
root_node = cast("struct kernfs_node *", prog["sysfs_root_kn"])


def first(items, count=5):
    return list(itertools.islice(items, count))


def text(value):
    return value.string_().decode() if hasattr(value, "string_") else value.decode()


HELPERS = {
    # Compared with the guest.
    "for_each_task": lambda: sorted(task.pid.value_() for task in for_each_task(prog)),
    "for_each_module": lambda: sorted(text(module.name) for module in modules),
    "module_kallsyms": lambda: sorted(
        f"{symbol.address:016x}:{symbol.name}" for module in modules for symbol in module_kallsyms(module)
    ),
    "get_dmesg": lambda: text(get_dmesg(prog)).splitlines()[0].split("] ", 1)[1],
    "prog['init_task'].comm": lambda: text(prog["init_task"].comm),
    "num_online_cpus": lambda: num_online_cpus(prog),
    "totalram_pages": lambda: totalram_pages(prog),
    "for_each_netdev": lambda: sorted(text(netdev_name(dev)) for dev in for_each_netdev(net)),
    "for_each_mount": lambda: sorted(text(mount_dst(mount)) for mount in for_each_mount(init.nsproxy.mnt_ns)),
    "for_each_slab_cache": lambda: len(list(for_each_slab_cache(prog))) > 50,
    # Tasks.
    "find_task": lambda: text(init.comm),
    "find_pid": lambda: find_pid(prog, 1).level,
    "pid_task": lambda: text(pid_task(find_pid(prog, 1), prog["PIDTYPE_PID"]).comm),
    "for_each_pid": lambda: len(list(for_each_pid(prog))),
    "for_each_task_in_group": lambda: len(list(for_each_task_in_group(init, include_self=True))),
    "task_state_to_char": lambda: task_state_to_char(find_task(prog, 2)),
    "get_task_state": lambda: get_task_state(find_task(prog, 2)),
    "task_cpu": lambda: task_cpu(init),
    "task_rq": lambda: task_rq(init),
    "cpu_curr": lambda: text(cpu_curr(prog, 0).comm),
    "idle_task": lambda: text(idle_task(prog, 0).comm),
    "cpu_rq": lambda: cpu_rq(prog, 0).cpu,
    "loadavg": lambda: loadavg(prog),
    "thread_group_leader": lambda: thread_group_leader(init),
    "task_is_kthread": lambda: task_is_kthread(find_task(prog, 2)),
    "task_rlimits": lambda: task_rlimits(init)["NOFILE"],
    "task_group_name": lambda: task_group_name(prog["root_task_group"].address_of_()),
    "decode_sigset": lambda: decode_sigset(init.blocked),
    "stack_trace": lambda: [frame.name for frame in prog.stack_trace(find_task(prog, 2))],
    "cmdline": lambda: cmdline(init),
    "environ": lambda: environ(init),
    "for_each_vma": lambda: len(list(for_each_vma(init.mm))),
    "access_remote_vm": lambda: access_remote_vm(init.mm, init.mm.arg_start, 4),
    "task_vsize": lambda: task_vsize(init),
    "task_rss": lambda: task_rss(init),
    # Files.
    "for_each_file": lambda: len(list(for_each_file(init))),
    "d_path": lambda: d_path(fget(init, 0).f_path) if fget(init, 0) else b"closed",
    "path_lookup": lambda: d_path(path_lookup(prog, "/")),
    "mount_src": lambda: [mount_src(mount) for mount in for_each_mount(init.nsproxy.mnt_ns)],
    "mount_fstype": lambda: [mount_fstype(mount) for mount in for_each_mount(init.nsproxy.mnt_ns)],
    "inode_path": lambda: dentry_path(path_lookup(prog, "/").dentry),
    "for_each_disk": lambda: [disk_name(disk) for disk in for_each_disk(prog)],
    "for_each_partition": lambda: [part_name(part) for part in for_each_partition(prog)],
    "kernfs_path": lambda: kernfs_path(root_node),
    "kernfs_walk": lambda: kernfs_name(kernfs_walk(root_node, "kernel")),
    "sysfs_lookup": lambda: sysfs_lookup(prog, "kernel"),
    "cgroup_path": lambda: cgroup_path(prog["cgrp_dfl_root"].cgrp.address_of_()),
    "css_for_each_descendant_pre": lambda: len(
        list(css_for_each_descendant_pre(prog["cgrp_dfl_root"].cgrp.self.address_of_()))
    ),
    # Processors.
    "for_each_online_cpu": lambda: list(for_each_online_cpu(prog)),
    "for_each_possible_cpu": lambda: len(list(for_each_possible_cpu(prog))),
    "for_each_present_cpu": lambda: len(list(for_each_present_cpu(prog))),
    "cpumask_to_cpulist": lambda: cpumask_to_cpulist(cpu_online_mask(prog)),
    "per_cpu": lambda: per_cpu(prog["runqueues"], 1).cpu.value_(),
    "per_cpu_ptr": lambda: per_cpu_ptr(prog["runqueues"].address_of_(), 0).cpu.value_(),
    "percpu_counter_sum": lambda: percpu_counter_sum(prog["vm_committed_as"].address_of_()),
    "for_each_irq_desc": lambda: len(list(for_each_irq_desc(prog))),
    "irq_to_desc": lambda: irq_to_desc(prog, 0),
    "timer_base_for_each": lambda: len(
        list(timer_base_for_each(per_cpu(prog["timer_bases"], 0)[0].address_of_()))
    ),
    "hrtimer_clock_base_for_each": lambda: len(
        list(
            hrtimer_clock_base_for_each(
                per_cpu(prog["hrtimer_bases"], 0).clock_base[0].address_of_()
            )
        )
    ),
    "ktime_get_seconds": lambda: ktime_get_seconds(prog),
    "uptime": lambda: uptime(prog),
    # Memory.
    "pgtable_l5_enabled": lambda: pgtable_l5_enabled(prog),
    "kaslr_offset": lambda: kaslr_offset(prog),
    "page_to_pfn": lambda: page_to_pfn(pfn_to_page(prog, 0x1000)),
    "virt_to_page": lambda: decode_page_flags(virt_to_page(init)),
    "virt_to_phys": lambda: virt_to_phys(init),
    "page_to_virt": lambda: page_to_virt(pfn_to_page(prog, 0x1000)),
    "follow_phys": lambda: follow_phys(prog["init_mm"].address_of_(), prog["init_task"].address_),
    "find_vmap_area": lambda: find_vmap_area(prog, init.stack),
    "for_each_vmap_area": lambda: len(list(for_each_vmap_area(prog))),
    "vmalloc_to_page": lambda: vmalloc_to_page(init.stack),
    "for_each_page": lambda: len(first(for_each_page(prog))),
    "find_slab_cache": lambda: text(find_slab_cache(prog, "task_struct").name),
    "slab_cache_for_each_allocated_object": lambda: len(
        list(
            slab_cache_for_each_allocated_object(
                find_slab_cache(prog, "task_struct"), "struct task_struct"
            )
        )
    ),
    "slab_object_info": lambda: slab_object_info(init),
    "find_containing_slab_cache": lambda: text(find_containing_slab_cache(init).name),
    "slab_cache_usage": lambda: slab_cache_usage(find_slab_cache(prog, "task_struct")),
    "slab_total_usage": lambda: slab_total_usage(prog),
    "for_each_online_node": lambda: list(for_each_online_node(prog)),
    "NODE_DATA": lambda: NODE_DATA(prog, 0).node_present_pages,
    "for_each_online_pgdat": lambda: len(list(for_each_online_pgdat(prog))),
    "for_each_present_section": lambda: len(first(for_each_present_section(prog))),
    "nr_free_pages": lambda: nr_free_pages(prog),
    "global_node_page_state": lambda: global_node_page_state(prog, prog["NR_FILE_PAGES"]),
    "global_vm_event_state": lambda: global_vm_event_state(prog, prog["PGFAULT"]),
    "vm_commit_limit": lambda: vm_commit_limit(prog),
    "vm_memory_committed": lambda: vm_memory_committed(prog),
    "for_each_hstate": lambda: [huge_page_size(state) for state in for_each_hstate(prog)],
    "for_each_swap_info": lambda: len(list(for_each_swap_info(prog))),
    "total_swapcache_pages": lambda: total_swapcache_pages(prog),
    # Modules, devices, network, BPF.
    "find_module": lambda: find_module(prog, "dummy"),
    "address_to_module": lambda: text(address_to_module(modules[0]).name),
    "module_address_regions": lambda: module_address_regions(modules[0]),
    "module_percpu_region": lambda: module_percpu_region(modules[0]),
    "for_each_resource": lambda: len(list(for_each_resource(prog["iomem_resource"].address_of_()))),
    "for_each_pci_dev": lambda: [pci_name(dev) for dev in for_each_pci_dev(prog)],
    "bus_for_each_dev": lambda: len(list(bus_for_each_dev(prog["cpu_subsys"].address_of_()))),
    "class_for_each_device": lambda: len(
        list(class_for_each_device(prog["block_class"].address_of_()))
    ),
    "for_each_registered_chrdev": lambda: len(list(for_each_registered_chrdev(prog))),
    "for_each_registered_blkdev": lambda: len(list(for_each_registered_blkdev(prog))),
    "for_each_net": lambda: len(list(for_each_net(prog))),
    "netdev_get_by_name": lambda: text(netdev_get_by_name(net, "lo").name),
    "netdev_get_by_index": lambda: text(netdev_get_by_index(net, 1).name),
    "neigh_table_for_each_neighbor": lambda: len(
        list(neigh_table_for_each_neighbor(prog["arp_tbl"].nht))
    ),
    "bpf_prog_for_each": lambda: len(list(bpf_prog_for_each(prog))),
    "bpf_map_for_each": lambda: len(list(bpf_map_for_each(prog))),
    "bpf_link_for_each": lambda: len(list(bpf_link_for_each(prog))),
    "bpf_btf_for_each": lambda: len(list(bpf_btf_for_each(prog))),
    "for_each_user": lambda: [user.uid.val.value_() for user in for_each_user(prog)],
    "find_user": lambda: find_user(prog, 0),
    "tainted": lambda: tainted(prog),
    "panic_task": lambda: panic_task(prog),
    "get_kconfig": lambda: get_kconfig(prog).get("CONFIG_X86_64"),
    "mutex_owner": lambda: mutex_owner(prog["module_mutex"].address_of_()),
    "waitqueue_active": lambda: waitqueue_active(
        prog["init_task"].signal.wait_chldexit.address_of_()
    ),
    "idr_for_each": lambda: len(list(idr_for_each(prog["prog_idr"].address_of_()))),
    "xa_load": lambda: idr_find(prog["init_pid_ns"].idr.address_of_(), 1),
    "list_count_nodes": lambda: list_count_nodes(prog["modules"].address_of_()),
    "validate_list": lambda: validate_list(prog["slab_caches"].address_of_()),
    "rbtree_inorder_for_each": lambda: len(first(rbtree_inorder_for_each(prog["bdi_tree"]))),
}

for name, helper in HELPERS.items():
    try:
        said, result = "ok", helper()
    except Exception as error:
        said, result = f"{type(error).__name__}: {error}", ""
    result = str(result).replace("\t", " ").replace("\n", " ")
    said = said.replace("\t", " ").replace("\n", " ")
    print(f"{name}\t{said}\t{result}"[:200000])
