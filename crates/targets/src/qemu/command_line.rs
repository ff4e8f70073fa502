//! QMP sockets on a QEMU command line.
//!
//! QEMU opens one for `-qmp unix:PATH,…` and `-qmp-pretty unix:PATH,…`, and for a character device of
//! type `socket` that a monitor with `mode=control` uses. Option values double their commas.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
};

/// Where a QMP server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum QmpEndpoint {
    /// A socket at this path, as QEMU sees it from its own working folder.
    Path(PathBuf),
    /// A listening socket that QEMU inherited as this descriptor.
    Descriptor(u32),
}

/// The QMP servers that `arguments` ask for, in their order.
pub(crate) fn qmp_endpoints(arguments: &[OsString]) -> Vec<QmpEndpoint> {
    let options = |names: &'static [&'static str]| {
        arguments
            .windows(2)
            .filter_map(move |pair| match pair {
                [name, value] => option_name(name)
                    .is_some_and(|name| names.contains(&name))
                    .then_some(value),
                _ => None,
            })
            .map(|value| Properties::parse(value))
    };
    let chardevs: Vec<Properties> = options(&["chardev"]).collect();
    let by_id = |id: &[u8]| {
        chardevs
            .iter()
            .find(|chardev| chardev.get("id") == Some(id))
            .and_then(socket_endpoint)
    };
    let mut found = Vec::new();
    for qmp in options(&["qmp", "qmp-pretty"]) {
        let Some(head) = qmp.head() else { continue };
        if let Some(path) = head.strip_prefix(b"unix:") {
            found.push(QmpEndpoint::Path(path_of(path)));
        } else if let Some(id) = head.strip_prefix(b"chardev:") {
            found.extend(by_id(id));
        }
    }
    for monitor in options(&["mon"]) {
        if monitor.get("mode") == Some(b"control")
            && let Some(id) = monitor.get("chardev").or_else(|| monitor.head())
        {
            found.extend(by_id(id));
        }
    }
    found
}

fn option_name(argument: &OsStr) -> Option<&str> {
    let name = argument.to_str()?.strip_prefix('-')?;
    Some(name.strip_prefix('-').unwrap_or(name))
}

fn socket_endpoint(chardev: &Properties) -> Option<QmpEndpoint> {
    if chardev.head() != Some(b"socket") {
        return None;
    }
    if let Some(path) = chardev.get("path") {
        return Some(QmpEndpoint::Path(path_of(path)));
    }
    let descriptor = str::from_utf8(chardev.get("fd")?).ok()?.parse().ok()?;
    Some(QmpEndpoint::Descriptor(descriptor))
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

/// `head,key=value,…` with doubled commas undone.
struct Properties(Vec<Vec<u8>>);

impl Properties {
    fn parse(value: &OsStr) -> Self {
        let mut fields = Vec::new();
        let mut field = Vec::new();
        let mut bytes = value.as_bytes().iter().peekable();
        while let Some(byte) = bytes.next() {
            if *byte != b',' {
                field.push(*byte);
            } else if bytes.next_if_eq(&&b',').is_some() {
                field.push(b',');
            } else {
                fields.push(std::mem::take(&mut field));
            }
        }
        fields.push(field);
        Self(fields)
    }

    /// The first field, which has no key by QEMU's habit.
    fn head(&self) -> Option<&[u8]> {
        self.0.first().map(Vec::as_slice)
    }

    fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.iter().find_map(|field| {
            field
                .strip_prefix(key.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"="))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(line: &str) -> Vec<QmpEndpoint> {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        qmp_endpoints(&arguments)
    }

    fn path(path: &str) -> QmpEndpoint {
        QmpEndpoint::Path(path.into())
    }

    #[test]
    fn finds_the_short_form() {
        assert_eq!(
            endpoints("qemu-system-x86_64 -m 1G -qmp unix:run/q.sock,server=on,wait=off -S"),
            [path("run/q.sock")]
        );
        assert_eq!(
            endpoints("qemu --qmp-pretty unix:/a,server -qmp unix:/b,server,nowait"),
            [path("/a"), path("/b")]
        );
    }

    #[test]
    fn finds_a_monitor_on_a_character_device() {
        let line = "qemu -chardev socket,id=charmonitor,path=/run/x.sock,server=on,wait=off \
                    -chardev socket,id=serial,path=/run/s.sock,server=on \
                    -mon chardev=charmonitor,id=monitor,mode=control";
        assert_eq!(endpoints(line), [path("/run/x.sock")]);
        assert_eq!(
            endpoints("qemu -chardev socket,id=q,path=/q,server=on -mon q,mode=control"),
            [path("/q")]
        );
        assert_eq!(
            endpoints("qemu -chardev socket,id=q,path=/q,server=on -qmp chardev:q"),
            [path("/q")]
        );
    }

    #[test]
    fn finds_an_inherited_descriptor() {
        let line = "qemu -chardev socket,id=c,fd=23,server=on,wait=off -mon chardev=c,mode=control";
        assert_eq!(endpoints(line), [QmpEndpoint::Descriptor(23)]);
    }

    #[test]
    fn passes_over_human_monitors_and_other_transports() {
        let line = "qemu -monitor unix:/hmp,server -chardev socket,id=h,path=/hmp2,server=on \
                    -mon chardev=h,mode=readline -qmp tcp:localhost:4444,server -qmp";
        assert_eq!(endpoints(line), []);
    }

    #[test]
    fn undoes_doubled_commas() {
        assert_eq!(
            endpoints("qemu -qmp unix:/a,,b/q,server=on"),
            [path("/a,b/q")]
        );
    }
}
