//! `vread read` with types and paths.

use std::time::Duration;

use serde_json::Value;
use vread_guests::{Guest, wait_until};

use crate::program::{target, vread, vread_stdout};

/// Values whose truth the guest's own files tell.
pub(crate) fn listing_typed_values(guest: &Guest) {
    let target = target(guest);
    let json = |words: &[&str]| -> Value {
        let words = ["read", &target, "--json"]
            .into_iter()
            .chain(words.iter().copied());
        serde_json::from_str(&vread_stdout(words)).unwrap()
    };
    let release = &guest.hello().release;
    assert_eq!(json(&["init_uts_ns.name.release"])["value"], **release);
    assert_eq!(json(&["init_task.cred.uid.val"])["value"], 0);
    assert_eq!(json(&["init_task.cred->uid"])["value"]["val"], 0);
    let whole = json(&["--type", "struct task_struct", "init_task"]);
    assert_eq!(whole["type"], "struct task_struct");
    assert_eq!(whole["value"]["comm"], "swapper/0");
    assert_eq!(
        whole["value"]["tasks"]["next"],
        json(&["init_task.tasks.next"])["value"]
    );

    // Each of some tasks, by its address.
    let tasks = vread_stdout(["ps", &target, "--json"]);
    let tasks: Vec<Value> = serde_json::from_str(&tasks).unwrap();
    // Workers come and go.
    let lasting = |task: &&Value| !task["name"].as_str().unwrap().starts_with("kworker");
    for task in tasks.iter().filter(lasting).step_by(3).take(8) {
        let path = |member: &str| {
            format!(
                "((struct task_struct *){})->{member}",
                task["task"].as_str().unwrap()
            )
        };
        let status = guest
            .read_text(&format!("/proc/{}/status", task["pid"]))
            .unwrap();
        let field = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        assert_eq!(json(&[&path("pid")])["value"].to_string(), field("Pid:"));
        let parent = json(&[&path("real_parent->tgid")])["value"].to_string();
        assert_eq!(parent, field("PPid:"));
        assert_eq!(
            json(&[&path("real_cred.euid.val")])["value"].to_string(),
            field("Uid:")
        );
        let thread_group = json(&[&format!("*&{}", path("tgid"))]);
        assert_eq!(thread_group["value"].to_string(), field("Tgid:"));
    }
    // Variables whose types are C's own, by our table; and types that are given.
    let ticks = || json(&["jiffies"])["value"].as_u64().unwrap();
    let before = ticks();
    assert!(before > 0);
    wait_until("the clock ticks", Duration::from_secs(30), || {
        (ticks() > before).then_some(())
    })
    .unwrap();
    let version = guest.read_text("/proc/version").unwrap();
    let start = json(&["linux_banner", "--type", "char [13]"]);
    assert_eq!(start["type"], "char [13]");
    assert_eq!(start["value"], version[..13]);
    let words = json(&["linux_banner", "--type", "unsigned short int [3]"]);
    let text = words["value"].as_array().unwrap().iter();
    let text: Vec<u8> = text
        .flat_map(|word| (word.as_u64().unwrap() as u16).to_le_bytes())
        .collect();
    assert_eq!(text, version.as_bytes()[..6]);
    // A bit-field, and the bytes of a path.
    let records = json(&["prb.desc_ring.infos[0].level"]);
    assert!(records["value"].as_u64().unwrap() < 8, "{records}");
    let bytes = vread_stdout(["read", "--raw", &target, "init_task.comm", "9"]);
    assert_eq!(bytes, "swapper/0");
}

/// A wrong type, a path that meets NULL, an unmapped page: one line with the name, the address, and what to
/// try.
pub(crate) fn listing_typed_refusals(guest: &Guest) {
    let target = target(guest);
    for (words, expected) in [
        (&["init_task.mm.pgd"][..], &["`init_task.mm` is NULL"][..]),
        (
            &["init_task.real_paren.pid"],
            &[
                "`struct task_struct` has no member `real_paren`",
                "real_parent",
            ],
        ),
        (
            &["--type", "struct task_strukt", "init_task"],
            &["no type `struct task_strukt`", "struct task_struct"],
        ),
        (
            &["((struct task_struct *)0xffff000000000000)->pid"],
            &["->pid` lies at 0xffff", "mapped"],
        ),
        (
            &["init_task.pid.x"],
            &["`init_task.pid` is of type `pid_t`", "no members"],
        ),
        (&["*init_task.pid"], &["is no pointer"]),
        (
            &["no_such_symbol.x"],
            &["no symbol `no_such_symbol`", "vread symbols"],
        ),
        (&["_text"], &["how many bytes", "--type"]),
        (&["_text.x"], &["type of `_text` is not known"]),
        (&["--type", "void", "_text"], &["not known"]),
    ] {
        let ran = vread()
            .args(["read", &target])
            .args(words)
            .output()
            .unwrap();
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(2), "{words:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
        for word in expected {
            assert!(said.contains(word), "{words:?}: no {word:?} in {said}");
        }
    }
}
