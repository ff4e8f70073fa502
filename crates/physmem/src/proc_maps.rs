use vread_addr::{FileOffset, VirtAddr, VirtRange};

/// A line of `/proc/PID/maps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vma {
    /// The addresses, in that process.
    pub(crate) range: VirtRange,
    pub(crate) sharing: Sharing,
    /// The position in the file that the first byte shows.
    pub(crate) offset: FileOffset,
    /// The file, or `None` for anonymous memory.
    pub(crate) file: Option<MappedFile>,
}

/// Whether writes of the process reach the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    Shared,
    Private,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MappedFile {
    /// As the kernel numbers devices here; some file systems tell `stat` another number.
    pub(crate) dev_major: u32,
    pub(crate) dev_minor: u32,
    pub(crate) inode: u64,
    /// As printed: newlines are escaped, and ` (deleted)` follows where the name is gone.
    pub(crate) name: String,
}

/// The areas, as printed: sorted and apart from each other. Lines that do not have the form are left
/// out; the form has not changed since Linux 2.6, see proc_pid_maps(5).
pub(crate) fn parse(text: &str) -> Vec<Vma> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Vma> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let start = VirtAddr::new(u64::from_str_radix(start, 16).ok()?);
    let end = VirtAddr::new(u64::from_str_radix(end, 16).ok()?);
    let sharing = match fields.next()?.as_bytes().get(3)? {
        b's' => Sharing::Shared,
        _ => Sharing::Private,
    };
    let offset = FileOffset::new(u64::from_str_radix(fields.next()?, 16).ok()?);
    let (major, minor) = fields.next()?.split_once(':')?;
    let inode = fields.next()?.parse().ok()?;
    let name = fields.next().unwrap_or_default().trim_start();
    let file = MappedFile {
        dev_major: u32::from_str_radix(major, 16).ok()?,
        dev_minor: u32::from_str_radix(minor, 16).ok()?,
        inode,
        name: name.to_owned(),
    };
    Some(Vma {
        range: VirtRange::new(start, end)?,
        sharing,
        offset,
        file: (inode != 0).then_some(file),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // The lines are those of the examples in proc_pid_maps(5), and of the kinds of memory that a VMM has.
    #[test]
    fn reads_every_kind_of_line() {
        let text = "\
00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus-daemon
00e03000-00e24000 rw-p 00000000 00:00 0           [heap]
35b1800000-35b1820000 rw-s 00001000 00:01 135522  /memfd:with a space (deleted)
7f2c6ff8c000-7f7c7ff8c000 rw-p 00000000 00:00 0
";
        let vmas = parse(text);
        assert_eq!(vmas.len(), 4);
        let [text, heap, memfd, anonymous] = &vmas[..] else {
            unreachable!()
        };
        assert_eq!(text.sharing, Sharing::Private);
        assert_eq!(text.file.as_ref().unwrap().name, "/usr/bin/dbus-daemon");
        assert_eq!(text.file.as_ref().unwrap().dev_major, 8);
        assert_eq!(text.file.as_ref().unwrap().dev_minor, 2);
        assert_eq!(heap.file, None);
        assert_eq!(memfd.sharing, Sharing::Shared);
        assert_eq!(memfd.offset, FileOffset::new(0x1000));
        assert_eq!(memfd.file.as_ref().unwrap().inode, 135_522);
        assert_eq!(
            memfd.file.as_ref().unwrap().name,
            "/memfd:with a space (deleted)"
        );
        assert_eq!(memfd.range.start(), VirtAddr::new(0x35_b180_0000));
        assert_eq!(anonymous.file, None);
        assert_eq!(anonymous.range.end(), VirtAddr::new(0x7f7c_7ff8_c000));
    }

    #[test]
    fn leaves_out_what_is_no_line() {
        assert_eq!(
            parse("\n-\nzz-zz rw-p 0 0:0 0\n2-1 rw-p 0 0:0 0\n1-2 rw\n"),
            []
        );
    }
}
