//! VMCOREINFO, as text and in its note: any bytes (N1 to N12, G74).
#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use vread_linux::fuzzing;

fuzz_target!(|bytes: &[u8]| {
    if let Some(text) = fuzzing::vmcoreinfo_note(bytes) {
        assert!(text.len() <= bytes.len() && text.starts_with(b"OSRELEASE="));
    }
    let Some(info) = fuzzing::vmcoreinfo(bytes) else {
        return;
    };
    assert_eq!(info.text().as_bytes(), bytes, "the text is kept as it is");
    // What makes it VMCOREINFO is there.
    assert!(info.os_release().is_some_and(|release| !release.is_empty()));
    for name in ["init_uts_ns", "swapper_pg_dir", "_stext"] {
        assert!(info.symbol(name).is_some(), "{name}");
    }
    let plain = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    for line in info.text().lines() {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        assert_eq!(info.raw(key), Some(value), "no key has two values");
        assert!(plain(key) && plain(value));
        // Every reading of a key of that kind, whatever it gives.
        if let Some(name) = key
            .split_once('(')
            .and_then(|(_, name)| name.strip_suffix(')'))
        {
            let _ = (info.symbol(name), info.offset(name), info.size(name));
            let _ = (info.length(name), info.number(name));
        }
    }
    assert!(info.build_id().is_none_or(|id| id.len() == 40));
    let _ = (info.page_size(), info.kernel_offset());
});
