//! Who started whom.

use std::collections::{BTreeMap, BTreeSet};

use vread_linux::tasks::Process;

/// How far a process is indented at most.
const MAX_SHOWN_DEPTH: usize = 32;

/// Each process behind the one that started it, with how many stand above it. Whatever a hostile target says
/// about its parents, each is there once.
pub(super) fn order(processes: &[Process]) -> Vec<(&Process, usize)> {
    let known: BTreeSet<u32> = processes.iter().map(|process| process.leader.tid).collect();
    let mut children: BTreeMap<u32, Vec<&Process>> = BTreeMap::new();
    let mut pending: Vec<(&Process, usize)> = Vec::new();
    // The last in `pending` is the next; all are ascending by their ids.
    for process in processes.iter().rev() {
        match known.contains(&process.ppid) && process.ppid != process.leader.tid {
            true => children.entry(process.ppid).or_default().push(process),
            false => pending.push((process, 0)),
        }
    }
    let mut ordered = Vec::new();
    let mut roots = processes.iter();
    loop {
        while let Some((process, depth)) = pending.pop() {
            ordered.push((process, depth));
            let below = depth.saturating_add(1).min(MAX_SHOWN_DEPTH);
            let started = children.remove(&process.leader.tid).unwrap_or_default();
            pending.extend(started.into_iter().map(|child| (child, below)));
        }
        // What is left are rings of processes that claim to have started one another: cut at the first.
        let Some(root) = roots.find(|process| children.contains_key(&process.leader.tid)) else {
            break;
        };
        if let Some(siblings) = children.get_mut(&root.ppid) {
            siblings.retain(|sibling| !std::ptr::eq(*sibling, root));
        }
        pending.push((root, 0));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use vread_addr::VirtAddr;
    use vread_linux::tasks::{CommandLine, Ids, TaskState, Thread};

    use super::*;

    fn process(pid: u32, ppid: u32) -> Process {
        Process {
            leader: Thread {
                at: VirtAddr::new(0),
                tid: pid,
                tgid: pid,
                name: String::new(),
                state: TaskState::default(),
                start_ns: 0,
            },
            ppid,
            uid: Ids::default(),
            gid: Ids::default(),
            thread_count: 1,
            memory: None,
            command_line: CommandLine::None,
            threads: Vec::new(),
        }
    }

    fn shown(list: &[(u32, u32)]) -> Vec<(u32, usize)> {
        let processes: Vec<Process> = list
            .iter()
            .map(|(pid, ppid)| process(*pid, *ppid))
            .collect();
        let ordered = order(&processes).into_iter();
        ordered
            .map(|(process, depth)| (process.leader.tid, depth))
            .collect()
    }

    #[test]
    fn puts_children_behind_their_parents() {
        let list = [(1, 0), (2, 0), (3, 2), (5, 1), (7, 5), (8, 1)];
        assert_eq!(
            shown(&list),
            [(1, 0), (5, 1), (7, 2), (8, 1), (2, 0), (3, 1)]
        );
    }

    #[test]
    fn shows_each_of_a_ring_once() {
        assert_eq!(shown(&[(1, 1)]), [(1, 0)]);
        assert_eq!(
            shown(&[(1, 0), (4, 6), (5, 4), (6, 5)]),
            [(1, 0), (4, 0), (5, 1), (6, 2)]
        );
        // Two of one id.
        assert_eq!(shown(&[(3, 0), (3, 0), (4, 3)]), [(3, 0), (4, 1), (3, 0)]);
    }
}
