//! `vread mounts` and `vread net` against the guest's own files.

use std::collections::BTreeSet;

use serde_json::Value;
use vread_guests::Guest;

use crate::listings::decided;
use crate::program::{target, vread_stdout, wait_for};

/// Devices, folders, kinds, and the options that every file system has; those of the file system itself come
/// behind them in the guest's file.
pub(crate) fn listing_mounts(guest: &Guest) {
    let (ours, theirs) = decided(
        || vread_stdout(["mounts", &target(guest)]),
        || guest.read_text("/proc/1/mounts").unwrap(),
    );
    assert_eq!(
        ours.lines().count(),
        theirs.lines().count(),
        "{ours}{theirs}"
    );
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        let fields = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (ours_of, theirs_of) = (fields(ours), fields(theirs));
        assert_eq!(ours_of[..3], theirs_of[..3]);
        let more = theirs_of[3].strip_prefix(&ours_of[3]);
        assert!(
            more.is_some_and(|more| more.is_empty() || more.starts_with(',')),
            "{ours} {theirs}"
        );
    }
    assert!(ours.contains("proc /proc proc rw"), "{ours}");
}

/// Interfaces as /sys and /proc/net have them, and sockets that listen.
pub(crate) fn listing_net(guest: &Guest) {
    let script = "cd /; ifconfig lo 127.0.0.1 up; \
        nc -l -p 4321 </dev/null >/dev/null 2>&1 & \
        httpd -p 8080; syslogd </dev/null >/dev/null 2>&1";
    let shell = |script: &str| guest.run(&["/bin/busybox", "sh", "-c", script]).unwrap();
    let ran = shell(script);
    assert_eq!(ran.stderr, "");
    let net = || -> Value {
        serde_json::from_str(&vread_stdout(["net", "--json", &target(guest)])).unwrap()
    };
    wait_for("three programs to listen", || {
        let net = net();
        let sockets = net["sockets"].as_array().unwrap().iter();
        let listens = sockets.filter(|one| one["state"] == "listen" || one["local"] == "/dev/log");
        listens.count() >= 3
    });
    let net = net();
    let theirs = shell(
        "cd /sys/class/net; for i in *; do echo $i $(cat $i/ifindex $i/mtu $i/address $i/flags); done",
    )
    .stdout;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let interfaces: BTreeSet<String> = net["interfaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let (name, hardware, flags) = (
                text(&one["name"]),
                text(&one["hardware"]),
                text(&one["flags"]),
            );
            // The kernel shows the flags that are asked for, and not those that follow from the state.
            let asked = u64::from_str_radix(&flags[2..], 16).unwrap() & 0xffbf;
            format!(
                "{name} {} {} {hardware} {asked:#x}",
                one["index"], one["mtu"]
            )
        })
        .collect();
    let theirs: BTreeSet<String> = theirs.lines().map(str::to_owned).collect();
    assert_eq!(interfaces, theirs);
    let lo = net["interfaces"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "lo")
        .unwrap();
    assert_eq!(
        lo["addresses"],
        serde_json::json!(["127.0.0.1/8", "::1/128"])
    );

    let sockets = net["sockets"].as_array().unwrap();
    let listening = |protocol: &str| -> BTreeSet<u16> {
        let those = sockets
            .iter()
            .filter(|one| one["protocol"] == protocol && one["state"] == "listen");
        those
            .map(|one| {
                text(&one["local"])
                    .rsplit(':')
                    .next()
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect()
    };
    for protocol in ["tcp", "tcp6"] {
        let file = guest.read_text(&format!("/proc/net/{protocol}")).unwrap();
        let theirs: BTreeSet<u16> = file
            .lines()
            .skip(1)
            .filter_map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let port = words[1].rsplit(':').next().unwrap();
                (words[3] == "0A").then(|| u16::from_str_radix(port, 16).unwrap())
            })
            .collect();
        assert_eq!(listening(protocol), theirs, "{protocol}");
    }
    let both = &listening("tcp") | &listening("tcp6");
    assert_eq!(both, BTreeSet::from([4321, 8080]));
    let named: Vec<&Value> = sockets
        .iter()
        .filter(|one| one["protocol"] == "unix" && one["local"] == "/dev/log")
        .collect();
    assert_eq!(named.len(), 1, "{sockets:#?}");
    assert_eq!(named[0]["owners"][0]["name"], "syslogd");
    shell("killall nc httpd syslogd");
}
